#include "check.hpp"
#include "shoestring/sim/banks.hpp"

using namespace shoestring::sim;

namespace {

// Two channels, no ranks, two groups of two banks, rows of four lines: ro-ba-co-ra-bg-ch.
BankTiming small() {
  BankTiming t;
  t.channel = {0, 1};
  t.group = {1, 1};
  t.bank = {4, 1};
  t.row = {5, 32};
  t.window = 4;
  return t;  // burst 2, CL = tRCD = tRP = 14, tRC 48, tCCD 2, tFAW 30
}

void the_first_line_opens_a_row_and_the_next_ones_find_it() {
  Banks banks(small());
  CHECK(banks.access(0, 0, false) == 44);  // tRP + tRCD + CL + burst
  CHECK(banks.access(4, 0, false) == 46);  // the same row, tCCD later
  CHECK(banks.access(1, 0, false) == 44);  // the other channel knows nothing of it
  CHECK(banks.row_hits() == 1 && banks.row_misses() == 2);
  CHECK(banks.access(32, 0, false) == 92);  // another row of the bank: tRC after the first activation, then as the first
  CHECK(banks.drained() == 92);
  CHECK(banks.busy() == 6);
}

void activations_of_a_rank_are_four_a_window() {
  Banks banks(small());
  CHECK(banks.access(0, 0, false) == 44);
  CHECK(banks.access(2, 0, false) == 52);  // bank of the other group: 7.5 cycles later, tFAW / 4, and half a cycle is one
  CHECK(banks.access(16, 0, false) == 59);
  CHECK(banks.access(18, 0, false) == 67);  // 22.5 + 44
}

void a_row_seen_a_window_ago_counts_as_open_and_later_not() {
  Banks banks(small());
  (void)banks.access(0, 0, false);  // row 0 of bank 0
  (void)banks.access(32, 0, false);  // row 1
  (void)banks.access(0, 0, false);  // still within four lines of the channel
  CHECK(banks.row_hits() == 1);
  (void)banks.access(2, 0, false);
  (void)banks.access(2, 0, false);
  (void)banks.access(0, 0, false);  // row 0 was opened five lines ago, and row 1 after it
  CHECK(banks.row_hits() == 2 && banks.row_misses() == 4);
}

void refreshes_take_their_share_of_the_bus() {
  BankTiming t = small();
  t.refresh_share = 0.5;
  Banks banks(t);
  for (std::uint64_t i = 0; i < 100; ++i) (void)banks.access(2 * (i % 2), 0, false);
  CHECK(banks.busy() == 400);
}

void a_write_turns_the_bus() {
  BankTiming t = small();
  t.write_turn = 3;
  Banks banks(t);
  CHECK(banks.access(0, 0, true) == 44);
  CHECK(banks.access(0, 40, false) == 56);  // idle again
  CHECK(banks.access(0, 60, true) == 76);
  CHECK(banks.access(2, 60, false) == 104);  // opens its row at 60, 28 + 16 later; the bus is free at 65
  CHECK(banks.access(2, 90, true) == 106);
  CHECK(banks.access(2, 90, false) == 111);  // behind 2 + 3 cycles of bus
}

void bursts_of_a_bank_group_keep_their_gap() {
  BankTiming t = small();
  t.column = 5;
  Banks banks(t);
  (void)banks.access(0, 0, false);
  (void)banks.access(16, 0, false);  // the other bank of the group
  CHECK(banks.access(0, 200, false) == 216);
  CHECK(banks.access(16, 200, false) == 221);  // tCCD_L
  (void)banks.access(2, 200, false);
  CHECK(banks.access(2, 300, false) == 316);
}

}  // namespace

int main() {
  a_write_turns_the_bus();
  bursts_of_a_bank_group_keep_their_gap();
  the_first_line_opens_a_row_and_the_next_ones_find_it();
  activations_of_a_rank_are_four_a_window();
  a_row_seen_a_window_ago_counts_as_open_and_later_not();
  refreshes_take_their_share_of_the_bus();
  return check::report();
}
