#include "shoestring/sim/dram_controller.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <memory>
#include <numeric>

#include "dram_chooser.hpp"

namespace shoestring::sim {
namespace {

using Clock = DramChannel::Clock;
constexpr Clock kNever = std::numeric_limits<Clock>::max();
constexpr std::int32_t kNobody = -1;

constexpr std::uint8_t kUrgent = 0, kAccess = 1, kPrepare = 2;

enum Kind : std::uint8_t { kReads = 0, kWrites = 1 };

// A request that waits, in the list of its bank.
struct Slot {
  Clock arrival = 0;
  std::uint64_t sequence = 0;  // order of arrival in the channel
  std::uint64_t access = 0;
  std::size_t request = 0;
  std::int32_t bank = 0;
  std::int32_t row = 0;
  std::int32_t column = 0;
  std::int32_t next = kNobody, previous = kNobody;
  std::int32_t younger = kNobody;  // the next one to the same address, which waits for this one
  bool blocked = false;            // an older one to the same address is still here
  Kind kind = kReads;
};

struct BankQueue {
  std::int32_t head = kNobody, tail = kNobody;
  std::array<std::int32_t, 2> oldest{kNobody, kNobody};  // of each kind, not blocked
  std::array<std::int32_t, 2> hit{kNobody, kNobody};     // the oldest of each kind that hits the open row
  std::int32_t overtaken = 0;  // accesses to the open row since one to another row waits longer
  bool fresh = false;          // activated, and not accessed since
};

struct Choice {
  Clock clock = kNever;
  std::uint64_t sequence = 0;
  DramCommand command = DramCommand::kRefresh;
  std::int32_t bank = 0;
  std::int32_t slot = kNobody;
  std::uint8_t order = kUrgent;  // of two that are legal at the same clock, the smaller one goes

  [[nodiscard]] bool before(const Choice& other) const noexcept {
    if (clock != other.clock) return clock < other.clock;
    return order != other.order ? order < other.order : sequence < other.sequence;
  }
};

// How many waiting requests may lie in each hash class of addresses; empty classes spare a search.
class AddressFilter {
  std::array<std::uint16_t, 1024> waiting_{};
  static std::size_t place(std::uint64_t access) noexcept { return (access * 0x9e3779b97f4a7c15ULL) >> 54U; }

 public:
  void add(std::uint64_t access) noexcept { ++waiting_[place(access)]; }
  void remove(std::uint64_t access) noexcept { --waiting_[place(access)]; }
  [[nodiscard]] bool may_hold(std::uint64_t access) const noexcept { return waiting_[place(access)] > 0; }
};

class Controller {
 public:
  Controller(const DramSpec& spec, std::int32_t channel, const DramRequests& requests,
             std::span<const std::size_t> order, const DramObserver& observer)
      : spec_(spec),
        channel_(channel),
        requests_(requests),
        order_(order),
        observer_(observer),
        device_(spec),
        capacity_(spec.queue / 2),
        // Writes leave in batches of half their queue.
        high_(std::max(capacity_ * 3 / 4, 1)),
        low_(capacity_ / 4),
        slots_(static_cast<std::size_t>(capacity_) * 2),
        banks_(static_cast<std::size_t>(spec.geometry.ranks * spec.geometry.banks())),
        chooser_(spec, device_),
        refreshing_(static_cast<std::size_t>(spec.geometry.ranks), false) {
    for (auto i = static_cast<std::int32_t>(slots_.size()) - 1; i >= 0; --i) free_.push_back(i);
    for (std::int32_t r = 0; r < spec.geometry.ranks; ++r) {
      // Staggered, so that only one rank of a channel is away at a time.
      const Clock first = Clock{spec.timing.t_refi} * (r + 1) / spec.geometry.ranks;
      due_.push_back(spec.timing.t_refi > 0 ? std::max<Clock>(first, 1) : kNever);
      next_due_ = std::min(next_due_, due_.back());
    }
  }

  // False if it was cancelled.
  bool run(DramReport& report) {
    std::uint32_t steps = 0;
    while (pending_ > 0 || taken_ < order_.size()) {
      if ((++steps & 0xffffU) == 0 && observer_.cancelled && observer_.cancelled()) return false;
      admit();
      const auto choice = choose();
      const Clock arrival = next_arrival();
      if (arrival <= choice.clock && arrival != kNever) {
        now_ = std::max(now_, arrival);
        continue;
      }
      issue(choice, report);
    }
    report.cycles = std::max(report.cycles, end_);
    return true;
  }

  // The other channels work until `end`; this one goes on refreshing.
  void idle_until(Clock end, DramReport& report) {
    for (;;) {
      const auto choice = refreshes({}, end);
      if (choice.clock > end) break;
      issue(choice, report);
    }
    for (std::int32_t r = 0; r < spec_.geometry.ranks; ++r) report.active_clocks += device_.active_clocks(r, end);
    report.commands.insert(report.commands.end(), commands_.begin(), commands_.end());
  }

 private:
  [[nodiscard]] Slot& slot(std::int32_t i) noexcept { return slots_[static_cast<std::size_t>(i)]; }
  [[nodiscard]] BankQueue& bank(std::int32_t i) noexcept { return banks_[static_cast<std::size_t>(i)]; }
  [[nodiscard]] Clock arrival_of(std::size_t request) const noexcept {
    return requests_.arrivals.empty() ? 0 : requests_.arrivals[request];
  }

  [[nodiscard]] bool has_room() const noexcept {
    return count_[requests_.writes[order_[taken_]] != 0 ? kWrites : kReads] < capacity_;
  }
  // When the next request may come in: kNever if there is none, or no room for it.
  [[nodiscard]] Clock next_arrival() const noexcept {
    return taken_ < order_.size() && has_room() ? arrival_of(order_[taken_]) : kNever;
  }
  void admit() {
    while (taken_ < order_.size() && has_room() && arrival_of(order_[taken_]) <= now_) {
      enqueue(order_[taken_]);
      ++taken_;
    }
  }

  void enqueue(std::size_t request) {
    const auto i = free_.back();
    free_.pop_back();
    auto& s = slot(i);
    const auto access = requests_.accesses[request];
    const auto at = spec_.map.decode(access);
    s = Slot{};
    s.arrival = arrival_of(request);
    s.sequence = sequence_++;
    s.access = access;
    s.request = request;
    s.bank = (at.rank * spec_.geometry.bank_groups + at.group) * spec_.geometry.banks_per_group + at.bank;
    s.row = at.row;
    s.column = at.column;
    s.kind = requests_.writes[request] != 0 ? kWrites : kReads;
    auto& b = bank(s.bank);
    if (filter_.may_hold(access)) wait_for_older(i, b);
    filter_.add(access);
    s.previous = b.tail;
    (b.tail == kNobody ? b.head : slot(b.tail).next) = i;
    b.tail = i;
    ++pending_;
    ++count_[s.kind];
    if (s.blocked) return;
    ++ready_[s.kind];
    const bool first = b.oldest[s.kind] == kNobody;
    const bool hits = b.hit[s.kind] == kNobody && s.row == device_.open_row(s.bank);
    if (first) b.oldest[s.kind] = i;
    if (hits) b.hit[s.kind] = i;
    if ((first || hits) && s.kind == kind_) find_wish(s.bank);
  }

  void wait_for_older(std::int32_t i, const BankQueue& b) noexcept {
    auto& s = slot(i);
    for (auto k = b.tail; k != kNobody; k = slot(k).previous) {
      if (slot(k).row == s.row && slot(k).column == s.column) {
        slot(k).younger = i;
        s.blocked = true;
        return;
      }
    }
  }

  // Searches a bank's list again after it or the open row changed.
  void search(std::int32_t index) noexcept {
    auto& b = bank(index);
    const auto row = device_.open_row(index);
    b.oldest = b.hit = {kNobody, kNobody};
    for (auto k = b.head; k != kNobody; k = slot(k).next) {
      const auto& s = slot(k);
      if (s.blocked) continue;
      if (b.oldest[s.kind] == kNobody) b.oldest[s.kind] = k;
      if (s.row == row && b.hit[s.kind] == kNobody) b.hit[s.kind] = k;
      if (b.hit[kReads] != kNobody && b.hit[kWrites] != kNobody) break;
    }
    find_wish(index);
  }

  // Tells the chooser what a bank would do next.
  void find_wish(std::int32_t index) noexcept {
    const auto& b = bank(index);
    const auto oldest = b.oldest[kind_], hit = b.hit[kind_];
    if (oldest == kNobody) return chooser_.clear(index);
    BankWish wish;
    if (hit != kNobody && (hit == oldest || b.overtaken < spec_.queue)) {
      wish.slot = hit;
      wish.command = column_command();
    } else {
      wish.slot = oldest;
      wish.command = device_.open_row(index) == DramChannel::kClosed ? DramCommand::kActivate : DramCommand::kPrecharge;
    }
    wish.sequence = slot(wish.slot).sequence;
    wish.ready = device_.bank_earliest(wish.command, index);
    chooser_.set(index, wish);
  }
  [[nodiscard]] DramCommand column_command() const noexcept {
    return kind_ == kWrites ? DramCommand::kWrite : DramCommand::kRead;
  }

  void choose_kind() noexcept {
    const auto before = kind_;
    if (kind_ == kReads) {
      if (ready_[kReads] == 0 || ready_[kWrites] >= high_) kind_ = kWrites;
      if (ready_[kWrites] == 0) kind_ = kReads;
    } else if (ready_[kWrites] == 0 || (ready_[kReads] > 0 && ready_[kWrites] <= low_)) {
      kind_ = kReads;
    }
    if (kind_ == before) return;
    for (std::int32_t b = 0; b < static_cast<std::int32_t>(banks_.size()); ++b) {
      if (bank(b).head != kNobody) find_wish(b);
    }
  }

  [[nodiscard]] Choice choose() {
    choose_kind();
    const Choice best = pending_ > 0 ? best_access() : Choice{};
    // Refreshes of an idle channel come as time passes, that is, before the next arrival.
    return refreshes(best, best.clock == kNever ? next_arrival() : best.clock);
  }

  // A rank whose refresh is due until then takes no more accesses: it is closed, then refreshed.
  [[nodiscard]] Choice refreshes(Choice best, Clock until) noexcept {
    if (until >= next_due_ && until != kNever) {
      next_due_ = kNever;
      for (std::size_t r = 0; r < due_.size(); ++r) {
        if (!refreshing_[r] && due_[r] <= until) {
          refreshing_[r] = true;
          ++num_refreshing_;
        }
        if (!refreshing_[r]) next_due_ = std::min(next_due_, due_[r]);
      }
      best = pending_ > 0 ? best_access() : Choice{};
    }
    if (num_refreshing_ == 0) return best;
    for (std::int32_t r = 0; r < spec_.geometry.ranks; ++r) {
      if (!refreshing_[static_cast<std::size_t>(r)]) continue;
      Choice c;
      c.command = device_.open_banks(r) > 0 ? DramCommand::kPrechargeAll : DramCommand::kRefresh;
      c.bank = r * spec_.geometry.banks();
      c.clock = std::max(device_.earliest(c.command, c.bank), due_[static_cast<std::size_t>(r)]);
      if (c.before(best)) best = c;
    }
    return best;
  }

  [[nodiscard]] Choice best_access() noexcept {
    const auto away = [&](std::size_t rank) { return num_refreshing_ > 0 && refreshing_[rank]; };
    const auto pick = chooser_.first(column_command(), now_, away);
    if (pick.bank < 0) return {};
    const auto& wish = chooser_.wish(pick.bank);
    const auto order = is_column(wish.command) ? kAccess : kPrepare;
    return {pick.clock, pick.sequence, wish.command, pick.bank, wish.slot, order};
  }

  void issue(const Choice& choice, DramReport& report) {
    now_ = choice.clock;
    const auto row = choice.slot == kNobody ? 0 : slot(choice.slot).row;
    device_.issue(choice.command, choice.bank, row, now_);
    chooser_.issued(choice.command, choice.bank);
    if (observer_.log_commands) log(choice);
    auto& b = bank(choice.bank);
    switch (choice.command) {
      case DramCommand::kActivate:
        ++report.activates;
        b.fresh = true;
        b.overtaken = 0;
        search(choice.bank);
        break;
      case DramCommand::kPrecharge:
        ++report.precharges;
        closed(choice.bank);
        break;
      case DramCommand::kPrechargeAll:
        ++report.precharges;
        for (std::int32_t k = 0; k < spec_.geometry.banks(); ++k) closed(choice.bank + k);
        break;
      case DramCommand::kRefresh: {
        const auto r = static_cast<std::size_t>(choice.bank / spec_.geometry.banks());
        ++report.refreshes;
        due_[r] += spec_.timing.t_refi;
        next_due_ = std::min(next_due_, due_[r]);
        refreshing_[r] = false;
        --num_refreshing_;
        break;
      }
      case DramCommand::kRead:
      case DramCommand::kWrite:
        finish(choice, report);
        break;
    }
  }

  void finish(const Choice& choice, DramReport& report) {
    const auto i = choice.slot;
    auto& s = slot(i);
    auto& b = bank(s.bank);
    const auto& t = spec_.timing;
    const Clock done = now_ + (s.kind == kWrites ? t.cwl : t.cl) + t.burst;
    end_ = std::max(end_, done);
    if (!observer_.finish.empty()) observer_.finish[s.request] = done;
    ++(s.kind == kWrites ? report.writes : report.reads);
    report.busy_clocks += t.burst;
    if (s.kind == kReads) {
      report.read_latency += done - s.arrival;
      report.worst_read_latency = std::max(report.worst_read_latency, done - s.arrival);
    }
    report.row_hits += !b.fresh;
    b.fresh = false;
    b.overtaken = b.oldest[s.kind] == i ? 0 : b.overtaken + 1;
    unlink(i);
    search(choice.bank);
  }

  void closed(std::int32_t index) noexcept {
    bank(index).hit = {kNobody, kNobody};
    find_wish(index);
  }

  void unlink(std::int32_t i) {
    auto& s = slot(i);
    auto& b = bank(s.bank);
    (s.previous == kNobody ? b.head : slot(s.previous).next) = s.next;
    (s.next == kNobody ? b.tail : slot(s.next).previous) = s.previous;
    filter_.remove(s.access);
    --pending_;
    --count_[s.kind];
    --ready_[s.kind];
    if (s.younger != kNobody) {
      auto& waiting = slot(s.younger);
      waiting.blocked = false;
      ++ready_[waiting.kind];
    }
    free_.push_back(i);
  }

  void log(const Choice& choice) {
    const auto& g = spec_.geometry;
    DramCommandRecord record{now_, choice.command, {}};
    record.address.channel = channel_;
    record.address.rank = choice.bank / g.banks();
    const bool whole_rank =
        choice.command == DramCommand::kPrechargeAll || choice.command == DramCommand::kRefresh;
    if (!whole_rank) {
      record.address.group = choice.bank % g.banks() / g.banks_per_group;
      record.address.bank = choice.bank % g.banks_per_group;
    }
    if (choice.slot != kNobody && choice.command != DramCommand::kPrecharge) {
      const auto& s = slots_[static_cast<std::size_t>(choice.slot)];
      record.address.row = s.row;
      if (is_column(choice.command)) record.address.column = s.column;
    }
    commands_.push_back(record);
  }

  const DramSpec& spec_;
  std::int32_t channel_;
  DramRequests requests_;
  std::span<const std::size_t> order_;
  const DramObserver& observer_;
  DramChannel device_;
  std::int32_t capacity_, high_, low_;
  std::vector<Slot> slots_;
  std::vector<std::int32_t> free_;
  std::vector<BankQueue> banks_;
  BankChooser chooser_;
  AddressFilter filter_;
  std::vector<Clock> due_;
  std::vector<bool> refreshing_;
  std::int32_t num_refreshing_ = 0;
  Clock next_due_ = kNever;  // of the ranks that are not refreshing
  std::vector<DramCommandRecord> commands_;
  Clock now_ = 0, end_ = 0;
  std::size_t taken_ = 0;
  std::uint64_t sequence_ = 0;
  std::int32_t pending_ = 0;
  std::array<std::int32_t, 2> count_{};  // waiting requests of each kind
  std::array<std::int32_t, 2> ready_{};  // those that are not blocked
  Kind kind_ = kReads;
};

Error refused(const std::string& text, std::int64_t offset) { return {ErrorKind::config, 0, offset, text, {}}; }

Result<Done> check(const DramRequests& requests, const DramObserver& observer) {
  const auto n = requests.accesses.size();
  if (requests.writes.size() != n || (!requests.arrivals.empty() && requests.arrivals.size() != n)) {
    return refused("accesses, writes and arrivals must be of one length", -1);
  }
  if (!observer.finish.empty() && observer.finish.size() != n) {
    return refused("finish must have one place a request", -1);
  }
  for (std::size_t i = 0; i < requests.arrivals.size(); ++i) {
    if (requests.arrivals[i] < (i == 0 ? 0 : requests.arrivals[i - 1])) {
      return refused("arrival " + std::to_string(i) + " lies before the one in front of it, or before 0",
                     static_cast<std::int64_t>(i));
    }
  }
  return Done{};
}

// The requests of each channel, in their order; channel c's stand from begin[c] to begin[c + 1].
std::vector<std::size_t> by_channel(const DramSpec& spec, std::span<const std::uint64_t> accesses,
                                    std::vector<std::size_t>& begin) {
  std::vector<std::size_t> order(accesses.size());
  if (begin.size() == 2) {
    begin[1] = order.size();
    std::iota(order.begin(), order.end(), std::size_t{0});
    return order;
  }
  std::vector<std::int32_t> channel;
  channel.reserve(order.size());
  for (const auto access : accesses) {
    channel.push_back(spec.map.decode(access).channel);
    ++begin[static_cast<std::size_t>(channel.back()) + 1];
  }
  std::partial_sum(begin.begin(), begin.end(), begin.begin());
  auto place = begin;
  for (std::size_t i = 0; i < order.size(); ++i) order[place[static_cast<std::size_t>(channel[i])]++] = i;
  return order;
}

}  // namespace

Result<DramReport> simulate_dram(const DramSpec& spec, const DramRequests& requests, const DramObserver& observer) {
  if (auto done = check(requests, observer); !done.ok()) return done.error();
  const auto channels = static_cast<std::size_t>(spec.geometry.channels);
  std::vector<std::size_t> begin(channels + 1, 0);
  const auto order = by_channel(spec, requests.accesses, begin);
  DramReport report;
  std::vector<std::unique_ptr<Controller>> controllers;
  for (std::size_t c = 0; c < channels; ++c) {
    const std::span<const std::size_t> own(order.data() + begin[c], begin[c + 1] - begin[c]);
    controllers.push_back(std::make_unique<Controller>(spec, static_cast<std::int32_t>(c), requests, own, observer));
    if (!controllers.back()->run(report)) return refused("cancelled", -1);
  }
  for (auto& controller : controllers) controller->idle_until(report.cycles, report);
  return report;
}

}  // namespace shoestring::sim
