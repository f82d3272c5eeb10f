// Whether a process's memory grows with the swaps it makes.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <string>

namespace switchyard::soak {

// Resident memory over the swaps, without what the soak itself notes down. The first fifth is left out: until then allocators and
// connections still meet new sizes.
class RssWatch {
 public:
  // Growth beyond this from the first half to the second is a leak: an eighth, and a floor for what short runs still warm up.
  static constexpr int64_t kFloorBytes = 8 << 20;

  // `process`: a number, or "self".
  RssWatch(const std::string& process, uint64_t swaps) : statm_("/proc/" + process + "/statm"), swaps_(swaps) {}
  void Sample(uint64_t done, int64_t noted_bytes) {
    if (done * 5 < swaps_ || done < next_) return;
    next_ = done + std::max<uint64_t>(1, swaps_ / 200);
    int64_t& most = done * 5 < swaps_ * 3 ? first_half_ : second_half_;
    most = std::max(most, RssBytes() - noted_bytes);
  }
  int64_t first_half() const { return first_half_; }
  int64_t second_half() const { return second_half_; }
  bool flat() const { return second_half_ - first_half_ <= std::max(first_half_ / 8, kFloorBytes); }

 private:
  int64_t RssBytes() const {
    std::ifstream statm(statm_);
    int64_t total = 0, resident = 0;
    statm >> total >> resident;
    return resident * sysconf(_SC_PAGESIZE);
  }

  const std::string statm_;
  const uint64_t swaps_;
  uint64_t next_ = 0;
  int64_t first_half_ = 0, second_half_ = 0;
};

}  // namespace switchyard::soak
