// RetireQueue: frees large things on a thread of its own.
//
// The last owner of an expert or a snapshot is often the engine thread, between two steps, or a thread that writes a reply: neither should
// pay for giving back hundreds of MiB.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

namespace switchyard {

// Thread-safe. Objects may outlive the queue: then their last owner frees them itself. Must not be owned by an object it shares.
class RetireQueue {
 public:
  RetireQueue();
  ~RetireQueue();  // frees what was handed over, then ends the thread

  // The object with owners; after the last one lets go it is freed on the queue's thread, and `bytes` count as freed.
  template <typename T>
  std::shared_ptr<const T> Share(std::unique_ptr<T> object, int64_t bytes) {
    return std::shared_ptr<const T>(object.release(),
                                    [state = state_, bytes](const T* last) { Retire(state, bytes, [last] { delete last; }); });
  }

  // Waits until everything handed over before the call is freed. Not from a destructor of a shared object.
  void Flush();
  uint64_t freed_objects() const;
  int64_t freed_bytes() const;

 private:
  struct Entry {
    int64_t bytes;
    std::function<void()> free;
  };
  struct State {
    std::mutex mutex;
    std::condition_variable changed;
    // Guarded by mutex.
    std::deque<Entry> waiting;
    uint64_t accepted = 0, freed = 0;
    int64_t freed_bytes = 0;
    bool stopping = false;
  };

  static void Retire(const std::shared_ptr<State>& state, int64_t bytes, std::function<void()> free);
  static void Loop(const std::shared_ptr<State>& state);

  const std::shared_ptr<State> state_;  // shared with the deleters, which may come after the queue
  std::thread thread_;
};

}  // namespace switchyard
