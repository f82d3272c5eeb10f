// Uninitialised floats that live from call to call and only grow. Private to this room.
#pragma once

#include <cstdint>
#include <memory>

namespace switchyard {

class Scratch {
 public:
  // Valid until the next call.
  float* Floats(int64_t count) {
    if (count > count_) {
      data_.reset();
      data_ = std::make_unique_for_overwrite<float[]>(static_cast<size_t>(count));
      count_ = count;
    }
    return data_.get();
  }

 private:
  std::unique_ptr<float[]> data_;
  int64_t count_ = 0;
};

}  // namespace switchyard
