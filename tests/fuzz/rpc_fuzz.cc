// Any bytes as a call of any method: the first byte chooses the service, the second the method, the rest is the message. It goes as it is,
// through gRPC, to a real server and a real admin port over the fake model and fake artifacts. Whatever comes, the call must end with a
// status that names the caller's mistake (never INTERNAL or UNKNOWN), replies must parse, and the model must see no broken rule.

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/support/byte_buffer.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "server/admin_server.h"
#include "server/server.h"
#include "server/wire.h"
#include "switchyard/v1/admin.pb.h"
#include "switchyard/v1/inference.pb.h"
#include "tests/server/fake_tokenizer.h"
#include "tests/testing/fake_model_runner.h"
#include "tests/testing/fake_snapshot_builder.h"
#include "tests/testing/files.h"

namespace {

using namespace switchyard;
using google::protobuf::MethodDescriptor;
using google::protobuf::ServiceDescriptor;

// No answer of the fake model takes longer.
constexpr std::chrono::seconds kHang{15};

[[noreturn]] void Fail(const std::string& why) {
  std::fprintf(stderr, "%s\n", why.c_str());
  std::abort();
}

FakeModelRunner::Options SmallModel() {
  FakeModelRunner::Options options;
  options.max_positions = 48;
  options.keep_steps = false;
  return options;
}

ServerOptions QuietServer() {
  ServerOptions options;
  options.listen = "127.0.0.1:0";
  options.metrics = "";
  options.gate.log_requests = 0;
  return options;
}

// Lives as long as the process.
struct Target {
  Target() {
    WriteFakeExpert(dir.File("root/law-1"), "law1", 100);
    WriteFakeExpert(dir.File("root/law-2"), "law2", 100);
    WriteFakeExpert(dir.File("root/broken"), "bad", 100, "load_error 15 the file is torn\n");
    WriteFakeRouter(dir.File("root/router-1"), "r1", {{"law", "law1"}, {"zero", "zero"}});
    WriteFakeRouter(dir.File("root/router-2"), "r2", {{"law", "law2"}, {"zero", "zero"}});
    engine = Engine::Create({}, &runner).value();
    model.engine = engine.get();
    model.tokenizer = std::make_shared<FakeTokenizer>();
    model.chat_template = std::make_shared<FakeChatTemplate>();
    model.dtype = "f32";
    server = Server::Start(QuietServer(), model, {.base = 1, .kv = 4}).value();
    CatalogContent initial;
    initial.experts = {{"law", "law-1", ""}, {"zero", "", ""}};
    initial.routers = {{"one", "router-1", ""}};
    initial.stable = {"one", 0};
    CatalogOptions options;
    options.artifact_root = dir.File("root");
    catalog = Catalog::Create(options, &builder, initial, [](ServingSet) {}).value();
    admin = AdminServer::Start({.address = "127.0.0.1:0", .reflection = false}, *catalog, *engine, nullptr).value();
    Connect("switchyard.v1.Inference", server->grpc_port());
    Connect("switchyard.v1.Admin", admin->port());
  }

  void Connect(const char* name, int port) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
    const auto channel = grpc::CreateCustomChannel("127.0.0.1:" + std::to_string(port), grpc::InsecureChannelCredentials(), arguments);
    const ServiceDescriptor* service = google::protobuf::DescriptorPool::generated_pool()->FindServiceByName(name);
    services.push_back({service, std::make_unique<grpc::GenericStub>(channel)});
  }

  TempDir dir;
  FakeModelRunner runner{SmallModel()};
  FakeSnapshotBuilder builder;
  ServedModel model;
  std::unique_ptr<Engine> engine;
  std::unique_ptr<Server> server;
  std::unique_ptr<Catalog> catalog;
  std::unique_ptr<AdminServer> admin;
  struct Service {
    const ServiceDescriptor* descriptor;
    std::unique_ptr<grpc::GenericStub> stub;
  };
  std::vector<Service> services;
};

bool Parses(const grpc::ByteBuffer& bytes, const google::protobuf::Descriptor* type) {
  const std::unique_ptr<google::protobuf::Message> message(
      google::protobuf::MessageFactory::generated_factory()->GetPrototype(type)->New());
  return ParseRequest(bytes, message.get()).ok();
}

// One call from its first message to its status; a stream of questions gets its message twice.
grpc::Status Call(grpc::GenericStub& stub, const MethodDescriptor* method, const grpc::ByteBuffer& message) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kHang);
  grpc::CompletionQueue queue;
  const auto wait = [&] {
    void* tag = nullptr;
    bool ok = false;
    queue.Next(&tag, &ok);
    return ok;
  };
  const auto call = stub.PrepareCall(&context, "/" + method->service()->full_name() + "/" + method->name(), &queue);
  call->StartCall(nullptr);
  bool ok = wait();
  for (int left = method->client_streaming() ? 2 : 1; ok && left > 0; --left) {
    call->Write(message, nullptr);
    ok = wait();
  }
  if (ok) {
    call->WritesDone(nullptr);
    wait();
  }
  grpc::ByteBuffer reply;
  for (call->Read(&reply, nullptr); wait(); call->Read(&reply, nullptr)) {
    if (!Parses(reply, method->output_type())) Fail("a reply of " + method->full_name() + " does not parse");
  }
  grpc::Status status;
  call->Finish(&status, nullptr);
  wait();
  return status;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static Target* const target = new Target();
  if (size < 2) return 0;
  const Target::Service& service = target->services[data[0] % target->services.size()];
  const MethodDescriptor* method = service.descriptor->method(data[1] % service.descriptor->method_count());
  const grpc::Slice slice(data + 2, size - 2);
  const grpc::ByteBuffer message(&slice, 1);
  const grpc::Status status = Call(*service.stub, method, message);
  // On the admin port gRPC itself parses, and calls what does not parse INTERNAL, without a word.
  const bool refused_by_grpc = status.error_code() == grpc::StatusCode::INTERNAL && status.error_message().empty() &&
                               &service == &target->services.back() && !Parses(message, method->input_type());
  if (refused_by_grpc) return 0;
  switch (status.error_code()) {
    case grpc::StatusCode::INTERNAL:
    case grpc::StatusCode::UNKNOWN:
    case grpc::StatusCode::UNAVAILABLE:
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      Fail(method->full_name() + " ended with status " + std::to_string(status.error_code()) + ": " + status.error_message());
    default:
      break;
  }
  if (const auto violations = target->runner.violations(); !violations.empty()) Fail(violations.front());
  return 0;
}
