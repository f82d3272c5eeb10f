#include "engine/catalog/retirer.h"

#include "engine/base/background_thread.h"

namespace switchyard {

std::shared_ptr<Retirer> Retirer::Start() {
  std::shared_ptr<Retirer> retirer(new Retirer());
  retirer->thread_ = std::thread([raw = retirer.get()] {
    MakeThisABackgroundThread();
    raw->Run();
  });
  return retirer;
}

// The last holder may be the retire thread itself (a guarded thing that dropped the retirer with it); then it was closed, and joined,
// before.
Retirer::~Retirer() { Close(); }

void Retirer::Close() {
  {
    std::lock_guard lock(mutex_);
    closed_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void Retirer::Push(Item item) {
  {
    std::lock_guard lock(mutex_);
    if (!closed_) {
      items_.push_back(std::move(item));
      wake_.notify_one();
      return;
    }
  }
  Free(std::move(item));
}

void Retirer::Run() {
  for (;;) {
    Item item;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return closed_ || !items_.empty(); });
      if (items_.empty()) return;
      item = std::move(items_.front());
      items_.pop_front();
    }
    Free(std::move(item));
  }
}

void Retirer::Free(Item item) {
  item.object.reset();
  if (item.freed) item.freed();
}

}  // namespace switchyard
