// Faults on demand, for tests: consulted before every request to the kernel, by both backends.
#pragma once

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>

#include "shoestring/io/buffer.hpp"

namespace shoestring::io {

struct FaultPlan {
  std::uint64_t short_every = 0;   // every n-th request is cut to half
  std::uint64_t eintr_every = 0;   // every n-th request answers EINTR instead
  std::uint64_t eagain_every = 0;  // every n-th request answers EAGAIN instead
  std::int64_t fail_after_bytes = -1;
  int fail_code = EIO;             // what requests answer once that many bytes have passed
  std::uint64_t delay_us = 0;      // before every request
  bool active() const noexcept {
    return short_every != 0 || eintr_every != 0 || eagain_every != 0 || fail_after_bytes >= 0 || delay_us != 0;
  }
};

struct FaultDecision {
  int code = 0;  // not 0: answer this errno without asking the kernel
  std::uint64_t length = 0;
};

class Faults {
  FaultPlan plan_;
  std::atomic<std::uint64_t> calls_{0};
  std::atomic<std::int64_t> bytes_{0};

  static bool due(std::uint64_t every, std::uint64_t call) noexcept { return every != 0 && call % every == 0; }

 public:
  explicit Faults(const FaultPlan& plan) noexcept : plan_(plan) {}
  bool active() const noexcept { return plan_.active(); }
  std::uint64_t delay_us() const noexcept { return plan_.delay_us; }
  FaultDecision before(std::uint64_t length, bool direct) noexcept {
    const std::uint64_t call = calls_.fetch_add(1) + 1;
    if (due(plan_.eintr_every, call)) return {EINTR, 0};
    if (due(plan_.eagain_every, call)) return {EAGAIN, 0};
    if (plan_.fail_after_bytes >= 0) {
      const std::int64_t before = bytes_.fetch_add(static_cast<std::int64_t>(length));
      if (before + static_cast<std::int64_t>(length) > plan_.fail_after_bytes) return {plan_.fail_code, 0};
    }
    std::uint64_t allowed = length;
    if (due(plan_.short_every, call)) {
      const std::uint64_t half = direct ? round_down(length / 2) : length / 2;
      if (half > 0) allowed = half;
    }
    return {0, allowed};
  }
};

}  // namespace shoestring::io
