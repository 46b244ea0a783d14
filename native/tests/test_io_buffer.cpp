#include "check.hpp"
#include "shoestring/io/buffer.hpp"

using namespace shoestring::io;

namespace {

void blocks_are_aligned_and_rounded_up() {
  auto pool = std::make_shared<BufferPool>(1 << 20);
  for (const std::uint64_t n : {0ULL, 1ULL, 4095ULL, 4096ULL, 4097ULL, 1234567ULL}) {
    auto block = std::move(pool->take(n).value());
    CHECK(reinterpret_cast<std::uintptr_t>(block->data()) % kAlign == 0);
    CHECK(block->size() == std::max<std::uint64_t>(round_up(n), kAlign));
    block->data()[block->size() - 1] = std::byte{1};
  }
}

void freed_blocks_are_used_again_up_to_the_bound() {
  auto pool = std::make_shared<BufferPool>(8192);
  auto one = std::move(pool->take(8192).value());
  auto two = std::move(pool->take(8192).value());
  const std::byte* first = one->data();
  CHECK(pool->stats().in_use == 16384);
  one.reset();
  two.reset();
  CHECK(pool->stats().in_use == 0);
  CHECK(pool->stats().idle == 8192);
  CHECK(pool->stats().peak_in_use == 16384);
  CHECK(pool->take(8192).value()->data() == first);
  pool->drop_idle();
  CHECK(pool->stats().idle == 0);
}

void a_much_larger_block_is_not_wasted_on_a_small_request() {
  auto pool = std::make_shared<BufferPool>(1 << 20);
  { auto large = pool->take(1 << 20); }
  auto small = std::move(pool->take(4096).value());
  CHECK(small->size() == 4096);
  CHECK(pool->stats().in_use == 4096);
}

void a_block_outlives_its_pool() {
  auto pool = std::make_shared<BufferPool>(1 << 20);
  auto block = std::move(pool->take(4096).value());
  pool.reset();
  block->data()[0] = std::byte{1};
}

void impossible_sizes_are_out_of_memory() {
  auto pool = std::make_shared<BufferPool>(1 << 20);
  auto result = pool->take(std::uint64_t{1} << 62);
  CHECK(!result.ok());
  CHECK(result.error().kind == shoestring::ErrorKind::memory);
  CHECK(pool->stats().in_use == 0);
}

}  // namespace

int main() {
  blocks_are_aligned_and_rounded_up();
  freed_blocks_are_used_again_up_to_the_bound();
  a_much_larger_block_is_not_wasted_on_a_small_request();
  a_block_outlives_its_pool();
  impossible_sizes_are_out_of_memory();
  return check::report();
}
