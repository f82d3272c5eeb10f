// The processes of a data-parallel run: each takes its share of a step's examples, and gradients are summed.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

namespace switchyard::trainer {

// Used on the training thread. Collective: every process makes the same calls in the same order.
class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  virtual void SumFloats(std::span<float> values) = 0;  // in place, the same bits everywhere
  virtual void SumDoubles(std::span<double> values) = 0;
  virtual void Barrier() = 0;
  // Ends the other processes, which would wait for this one for ever; returns when there are none.
  virtual void Abort() = 0;
};

// One process.
std::unique_ptr<Communicator> SingleProcess();
// MPI's world when the program was started by mpirun and built with MPI; one process otherwise. Call once, before threads are made; the
// result's end is MPI's end.
std::unique_ptr<Communicator> WorldOfProcesses(int* argc, char*** argv);

}  // namespace switchyard::trainer
