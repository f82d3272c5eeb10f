// gRPC server reflection, as grpcurl asks for it; its messages are written and read by hand, since no stub of it is installed.
#include <grpcpp/generic/generic_stub.h>

#include "tests/server/server_fixture.h"

namespace switchyard {
namespace {

using ::testing::HasSubstr;

class ReflectionTest : public ServerTest {
 protected:
  // One step of a call on `queue`; false when it went wrong.
  static bool Done(grpc::CompletionQueue* queue) {
    void* tag = nullptr;
    bool ok = false;
    return queue->Next(&tag, &ok) && ok;
  }

  // The answer to one ServerReflectionRequest; empty when there was none, and `status` says why.
  std::string Ask(const std::string& request, grpc::Status* status) const {
    grpc::GenericStub stub(channel_);
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
    grpc::CompletionQueue queue;
    auto call = stub.PrepareCall(&context, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", &queue);
    call->StartCall(nullptr);
    bool ok = Done(&queue);
    const grpc::Slice slice(request);
    if (ok) {
      call->Write(grpc::ByteBuffer(&slice, 1), nullptr);
      ok = Done(&queue);
    }
    grpc::ByteBuffer reply;
    if (ok) {
      call->Read(&reply, nullptr);
      ok = Done(&queue);
    }
    if (ok) {
      call->WritesDone(nullptr);
      Done(&queue);
    }
    call->Finish(status, nullptr);
    Done(&queue);
    grpc::Slice answer;
    if (!ok || !reply.DumpToSingleSlice(&answer).ok()) return "";
    return {reinterpret_cast<const char*>(answer.begin()), answer.size()};
  }
};

const std::string kListServices("\x3a\x01*", 3);                                         // list_services = 7
const std::string kInferenceFile = std::string("\x22\x17") + "switchyard.v1.Inference";  // file_containing_symbol = 4
const std::string kUnknownFile = std::string("\x22\x17") + "switchyard.v1.Nonexists";

TEST_F(ReflectionTest, ListsTheServicesAndDescribesThem) {
  ServerOptions options = TestOptions();
  options.reflection = true;
  Start(options);
  grpc::Status status;
  const std::string services = Ask(kListServices, &status);
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_THAT(services, HasSubstr("switchyard.v1.Inference"));
  EXPECT_THAT(services, HasSubstr("grpc.health.v1.Health"));
  // A FileDescriptorProto, by what is in it.
  const std::string file = Ask(kInferenceFile, &status);
  EXPECT_THAT(file, HasSubstr("switchyard/v1/inference.proto"));
  EXPECT_THAT(file, HasSubstr("ScoreStream"));
  EXPECT_THAT(Ask(kUnknownFile, &status), ::testing::Not(HasSubstr("inference.proto")));
}

TEST_F(ReflectionTest, IsOffWhenItIsSwitchedOff) {
  ServerOptions options = TestOptions();
  options.reflection = false;
  Start(options);
  grpc::Status status;
  EXPECT_EQ(Ask(kListServices, &status), "");
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNIMPLEMENTED);
}

}  // namespace
}  // namespace switchyard
