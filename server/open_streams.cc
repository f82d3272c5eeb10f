#include "server/open_streams.h"

#include <vector>

namespace switchyard {

void OpenStreams::Add(const std::shared_ptr<EndableStream>& stream) {
  bool ending;
  {
    std::lock_guard lock(mutex_);
    streams_[stream.get()] = stream;
    ending = ending_;
  }
  if (ending) stream->EndWhenIdle();
}

void OpenStreams::Remove(const EndableStream* stream) {
  std::lock_guard lock(mutex_);
  streams_.erase(stream);
}

void OpenStreams::EndAll() {
  // Streams take locks of their own and may remove themselves: none is called under this one.
  std::vector<std::shared_ptr<EndableStream>> open;
  {
    std::lock_guard lock(mutex_);
    ending_ = true;
    for (const auto& [address, stream] : streams_) {
      if (auto alive = stream.lock()) open.push_back(std::move(alive));
    }
  }
  for (const auto& stream : open) stream->EndWhenIdle();
}

}  // namespace switchyard
