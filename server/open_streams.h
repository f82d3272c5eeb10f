// OpenStreams: the calls that would stay open for as long as their client likes, so that a drain can end them.
#pragma once

#include <memory>
#include <mutex>
#include <unordered_map>

namespace switchyard {

class EndableStream {
 public:
  virtual ~EndableStream() = default;
  // Take nothing new, finish what is in work, then end with UNAVAILABLE. May come from any thread, more than once, and after the end.
  virtual void EndWhenIdle() = 0;
};

// Thread-safe. Owned by the Server; outlives its calls.
class OpenStreams {
 public:
  // From now until Remove a drain finds the stream. One that comes after EndAll is told at once.
  void Add(const std::shared_ptr<EndableStream>& stream);
  void Remove(const EndableStream* stream);
  // Tells every stream, and every later one, that the server drains.
  void EndAll();

 private:
  std::mutex mutex_;
  std::unordered_map<const EndableStream*, std::weak_ptr<EndableStream>> streams_;  // guarded by mutex_
  bool ending_ = false;                                                             // guarded by mutex_
};

}  // namespace switchyard
