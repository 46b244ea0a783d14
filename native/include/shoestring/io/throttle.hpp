// A token bucket of one request's depth: an emulated, slower device.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <mutex>

namespace shoestring::io {

class Throttle {
  using Clock = std::chrono::steady_clock;
  double bytes_per_s_;
  std::mutex mutex_;
  Clock::time_point free_at_{};

 public:
  explicit Throttle(double bytes_per_s) noexcept : bytes_per_s_(bytes_per_s) {}
  bool active() const noexcept { return bytes_per_s_ > 0; }
  // Books `bytes` and says when their transfer would be over on the emulated device.
  Clock::time_point book(std::uint64_t bytes) {
    const std::lock_guard lock(mutex_);
    const auto start = std::max(Clock::now(), free_at_);
    const std::chrono::duration<double> cost(static_cast<double>(bytes) / bytes_per_s_);
    free_at_ = start + std::chrono::duration_cast<Clock::duration>(cost);
    return free_at_;
  }
};

}  // namespace shoestring::io
