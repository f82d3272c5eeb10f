#include "engine/runtime/retire_queue.h"

namespace switchyard {

RetireQueue::RetireQueue() : state_(std::make_shared<State>()), thread_([state = state_] { Loop(state); }) {}

RetireQueue::~RetireQueue() {
  {
    std::lock_guard lock(state_->mutex);
    state_->stopping = true;
  }
  state_->changed.notify_all();
  thread_.join();
}

void RetireQueue::Retire(const std::shared_ptr<State>& state, int64_t bytes, std::function<void()> free) {
  {
    std::unique_lock lock(state->mutex);
    ++state->accepted;
    if (state->stopping) {
      // Nobody may be there to take it.
      lock.unlock();
      free();
      lock.lock();
      ++state->freed;
      state->freed_bytes += bytes;
    } else {
      state->waiting.push_back({bytes, std::move(free)});
    }
  }
  state->changed.notify_all();
}

void RetireQueue::Loop(const std::shared_ptr<State>& state) {
  std::unique_lock lock(state->mutex);
  for (;;) {
    state->changed.wait(lock, [&] { return !state->waiting.empty() || state->stopping; });
    if (state->waiting.empty()) return;
    Entry entry = std::move(state->waiting.front());
    state->waiting.pop_front();
    // A snapshot's end is the end of its parts: freeing one thing may hand over others.
    lock.unlock();
    entry.free();
    lock.lock();
    ++state->freed;
    state->freed_bytes += entry.bytes;
    state->changed.notify_all();
  }
}

void RetireQueue::Flush() {
  std::unique_lock lock(state_->mutex);
  // What freeing hands over in turn belongs to it, so the target moves.
  state_->changed.wait(lock, [&] { return state_->freed >= state_->accepted; });
}

uint64_t RetireQueue::freed_objects() const {
  std::lock_guard lock(state_->mutex);
  return state_->freed;
}

int64_t RetireQueue::freed_bytes() const {
  std::lock_guard lock(state_->mutex);
  return state_->freed_bytes;
}

}  // namespace switchyard
