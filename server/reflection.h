// gRPC server reflection on or off, for one server.
#pragma once

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/server_builder_option.h>
#include <grpcpp/impl/server_builder_plugin.h>

#include <memory>
#include <string>
#include <vector>

namespace switchyard {

// gRPC's reflection library adds itself to every server of a program that links it. Takes it out of `builder`'s again unless it is `wanted`.
inline void SetReflection(grpc::ServerBuilder& builder, bool wanted) {
  class Without final : public grpc::ServerBuilderOption {
   public:
    void UpdateArguments(grpc::ChannelArguments*) override {}
    void UpdatePlugins(std::vector<std::unique_ptr<grpc::ServerBuilderPlugin>>* plugins) override {
      std::erase_if(*plugins, [](const auto& plugin) { return plugin->name() == "proto_server_reflection"; });
    }
  };
  if (wanted) return grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  builder.SetOption(std::make_unique<Without>());
}

}  // namespace switchyard
