// Where shared things go to die: whoever drops the last lease (the engine thread, most often) only hands over; the memory is given back
// here.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

namespace switchyard {

// Thread-safe. Kept alive by everything guarded, so a lease may outlive whoever made the retirer; after Close things die on the thread that
// drops them. The queue is bounded by what is resident.
class Retirer : public std::enable_shared_from_this<Retirer> {
 public:
  static std::shared_ptr<Retirer> Start();
  ~Retirer();

  // The same object, whose last holder hands it to the retire thread; `freed` is called there once the memory has been given back.
  template <typename T>
  std::shared_ptr<const T> Guard(std::shared_ptr<const T> inner, std::function<void()> freed) {
    const T* object = inner.get();
    auto deleter = [self = shared_from_this(), inner = std::move(inner), freed = std::move(freed)](const T*) mutable {
      self->Push({std::move(inner), std::move(freed)});
    };
    return std::shared_ptr<const T>(object, std::move(deleter));
  }

  // Frees what is queued and joins the thread. Idempotent; not from a `freed`.
  void Close();

 private:
  struct Item {
    std::shared_ptr<const void> object;
    std::function<void()> freed;
  };
  Retirer() = default;
  void Push(Item item);
  void Run();
  static void Free(Item item);

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Item> items_;  // guarded by mutex_
  bool closed_ = false;     // guarded by mutex_
  std::thread thread_;
};

}  // namespace switchyard
