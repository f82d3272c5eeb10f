#include "trainer/run/communicator.h"

#ifdef SWITCHYARD_MPI
#include <mpi.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#endif

namespace switchyard::trainer {

namespace {

class Alone final : public Communicator {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  void SumFloats(std::span<float>) override {}
  void SumDoubles(std::span<double>) override {}
  void Barrier() override {}
  void Abort() override {}
};

#ifdef SWITCHYARD_MPI
class MpiWorld final : public Communicator {
 public:
  MpiWorld() {
    MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
    MPI_Comm_size(MPI_COMM_WORLD, &size_);
  }
  ~MpiWorld() override { MPI_Finalize(); }
  int rank() const override { return rank_; }
  int size() const override { return size_; }
  // Reduced on one process and sent out, so that all hold the same bits.
  void SumFloats(std::span<float> values) override { Sum(values.data(), values.size(), MPI_FLOAT); }
  void SumDoubles(std::span<double> values) override { Sum(values.data(), values.size(), MPI_DOUBLE); }
  void Barrier() override { MPI_Barrier(MPI_COMM_WORLD); }
  void Abort() override {
    if (size_ > 1) MPI_Abort(MPI_COMM_WORLD, 1);
  }

 private:
  void Sum(void* data, size_t count, MPI_Datatype type) {
    MPI_Reduce(rank_ == 0 ? MPI_IN_PLACE : data, data, static_cast<int>(count), type, MPI_SUM, 0, MPI_COMM_WORLD);
    MPI_Bcast(data, static_cast<int>(count), type, 0, MPI_COMM_WORLD);
  }
  int rank_ = 0, size_ = 1;
};

// Set by the launchers of Open MPI, of MPICH and its kin, and of Slurm through PMIx. Without one of them MPI_Init would start helper
// processes of its own for nothing.
bool StartedByMpi() {
  constexpr std::array kSigns = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMIX_RANK"};
  return std::any_of(kSigns.begin(), kSigns.end(), [](const char* name) { return std::getenv(name) != nullptr; });
}
#endif

}  // namespace

std::unique_ptr<Communicator> SingleProcess() { return std::make_unique<Alone>(); }

std::unique_ptr<Communicator> WorldOfProcesses([[maybe_unused]] int* argc, [[maybe_unused]] char*** argv) {
#ifdef SWITCHYARD_MPI
  if (StartedByMpi()) {
    MPI_Init(argc, argv);
    return std::make_unique<MpiWorld>();
  }
#endif
  return SingleProcess();
}

}  // namespace switchyard::trainer
