#include "engine/catalog/residency.h"

#include <algorithm>

namespace switchyard {

Status Residency::Reserve(int64_t bytes) {
  std::lock_guard lock(mutex_);
  if (budget_bytes_ > 0 && (bytes > budget_bytes_ || resident_ > budget_bytes_ - bytes)) {
    return ResourceExhausted(
        "memory budget: %d bytes more are needed, %d of %d are taken (retired experts and routers count until the last request "
        "on them ends)",
        bytes, resident_, budget_bytes_);
  }
  resident_ += bytes;
  return OkStatus();
}

void Residency::Release(int64_t bytes) {
  std::lock_guard lock(mutex_);
  resident_ -= bytes;
}

uint64_t Residency::Add(const Key& key, int64_t bytes, int64_t reserved) {
  std::lock_guard lock(mutex_);
  resident_ += bytes - reserved;
  Entry entry;
  entry.serial = ++last_serial_;
  entry.bytes = bytes;
  entries_.emplace(key, entry);
  return entry.serial;
}

std::shared_ptr<const ExpertPart> Residency::AdmitExpert(std::shared_ptr<const ExpertPart> part, int64_t reserved) {
  const Key key{ArtifactKind::kExpert, part->info().generation};
  const uint64_t serial = Add(key, part->info().bytes, reserved);
  auto guarded = retirer_->Guard(std::move(part), [self = shared_from_this(), key, serial] { self->Freed(key, serial); });
  std::lock_guard lock(mutex_);
  for (auto [entry, end] = entries_.equal_range(key); entry != end; ++entry) {
    if (entry->second.serial == serial) entry->second.expert = guarded;
  }
  return guarded;
}

std::shared_ptr<const RouterPart> Residency::AdmitRouter(std::shared_ptr<const RouterPart> part, int64_t reserved) {
  const Key key{ArtifactKind::kRouter, part->info().generation};
  const uint64_t serial = Add(key, part->info().bytes, reserved);
  auto guarded = retirer_->Guard(std::move(part), [self = shared_from_this(), key, serial] { self->Freed(key, serial); });
  std::lock_guard lock(mutex_);
  for (auto [entry, end] = entries_.equal_range(key); entry != end; ++entry) {
    if (entry->second.serial == serial) entry->second.router = guarded;
  }
  return guarded;
}

std::shared_ptr<const Snapshot> Residency::AdmitSnapshot(std::shared_ptr<const Snapshot> snapshot) {
  std::lock_guard lock(mutex_);
  const uint64_t serial = ++last_serial_;
  snapshots_[serial].address = snapshot.get();
  return retirer_->Guard(std::move(snapshot), [self = shared_from_this(), serial] {
    std::lock_guard freed(self->mutex_);
    self->snapshots_.erase(serial);
  });
}

void Residency::SetServed(const ServingSet& set) {
  const Clock::Time now = Clock::Real()->Now();
  std::lock_guard lock(mutex_);
  for (auto& [serial, snapshot] : snapshots_) {
    if (snapshot.address == set.stable.get() || snapshot.address == set.canary.get() || snapshot.address == set.shadow.get()) {
      snapshot = {snapshot.address, true, std::nullopt};
    } else if (snapshot.served) {
      snapshot = {snapshot.address, false, now};
    }
  }
}

Residency::Retired Residency::retired(Clock::Time now) const {
  Retired retired;
  const auto since = [&](Clock::Time time) {
    retired.oldest_seconds = std::max(retired.oldest_seconds.value_or(0), Milliseconds(time, now) / 1000);
  };
  std::lock_guard lock(mutex_);
  for (const auto& [serial, snapshot] : snapshots_) {
    if (!snapshot.retired_since) continue;
    ++retired.snapshots;
    since(*snapshot.retired_since);
  }
  for (const auto& [key, entry] : entries_) {
    if (entry.operation == 0) continue;
    ++retired.parts;
    retired.part_bytes += entry.bytes;
    since(entry.watched_since);
  }
  return retired;
}

std::shared_ptr<const ExpertPart> Residency::FindExpert(const std::string& generation) {
  const Key key{ArtifactKind::kExpert, generation};
  std::shared_ptr<const ExpertPart> part;
  uint64_t operation = 0;
  {
    std::lock_guard lock(mutex_);
    for (auto [entry, end] = entries_.equal_range(key); entry != end && part == nullptr; ++entry) {
      if (part = entry->second.expert.lock(); part != nullptr) operation = std::exchange(entry->second.operation, 0);
    }
  }
  Revived(key, operation);
  return part;
}

std::shared_ptr<const RouterPart> Residency::FindRouter(const std::string& generation) {
  const Key key{ArtifactKind::kRouter, generation};
  std::shared_ptr<const RouterPart> part;
  uint64_t operation = 0;
  {
    std::lock_guard lock(mutex_);
    for (auto [entry, end] = entries_.equal_range(key); entry != end && part == nullptr; ++entry) {
      if (part = entry->second.router.lock(); part != nullptr) operation = std::exchange(entry->second.operation, 0);
    }
  }
  Revived(key, operation);
  return part;
}

bool Residency::IsResident(ArtifactKind kind, const std::string& generation) const {
  std::lock_guard lock(mutex_);
  for (auto [entry, end] = entries_.equal_range({kind, generation}); entry != end; ++entry) {
    if (!entry->second.expert.expired() || !entry->second.router.expired()) return true;
  }
  return false;
}

void Residency::Revived(const Key& key, uint64_t operation) {
  if (operation == 0) return;
  log_->Update(operation, [&](Operation& old) {
    std::erase_if(old.retired, [&](const Operation::Retired& r) { return r.kind == key.first && r.generation == key.second && !r.freed; });
    old.notes.push_back(absl::StrFormat("%s %s is in use again before it was freed", KindName(key.first), key.second.substr(0, 12)));
  });
}

void Residency::Watch(uint64_t id, const std::vector<Key>& generations) {
  std::lock_guard lock(mutex_);
  for (const Key& key : generations) {
    for (auto [entry, end] = entries_.equal_range(key); entry != end; ++entry) {
      entry->second.operation = id;
      entry->second.watched_since = Clock::Real()->Now();
    }
  }
}

void Residency::Freed(const Key& key, uint64_t serial) {
  Entry gone;
  {
    std::lock_guard lock(mutex_);
    for (auto [entry, end] = entries_.equal_range(key); entry != end; ++entry) {
      if (entry->second.serial != serial) continue;
      gone = entry->second;
      resident_ -= gone.bytes;
      entries_.erase(entry);
      break;
    }
  }
  log_->CountFreed(gone.bytes);
  if (gone.operation == 0) return;
  const double after_ms = Milliseconds(gone.watched_since, Clock::Real()->Now());
  log_->Update(gone.operation, [&](Operation& operation) {
    for (Operation::Retired& part : operation.retired) {
      if (part.kind != key.first || part.generation != key.second || part.freed) continue;
      part.freed = true;
      part.freed_after_ms = after_ms;
      return;
    }
  });
}

int64_t Residency::resident_bytes() const {
  std::lock_guard lock(mutex_);
  return resident_;
}

}  // namespace switchyard
