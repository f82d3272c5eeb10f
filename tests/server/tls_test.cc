// TLS and mutual TLS over real connections; certificates rotated under a running server.
#include <chrono>
#include <filesystem>
#include <fstream>

#include "server/address.h"
#include "server/credentials.h"
#include "tests/server/server_fixture.h"
#include "tests/testing/certificates.h"

namespace switchyard {
namespace {

using ::testing::HasSubstr;

class TlsTest : public ServerTest {
 protected:
  TlsTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "switchyard-tls-XXXXXX").string();
    directory_ = mkdtemp(pattern.data());
  }
  ~TlsTest() override { std::filesystem::remove_all(directory_); }

  std::string Write(const std::string& name, const std::string& text) const {
    const std::string path = (directory_ / name).string();
    std::ofstream(path) << text;
    return path;
  }
  // Certificate and key in a folder of their own, put in place by one rename of a symbolic link.
  void Publish(const PemPair& pair, const std::string& client_ca = "") {
    const std::string version = "v" + std::to_string(++versions_);
    std::filesystem::create_directory(directory_ / version);
    Write(version + "/tls.crt", pair.certificate);
    Write(version + "/tls.key", pair.key);
    Write(version + "/ca.crt", client_ca);
    std::filesystem::create_directory_symlink(version, directory_ / "next");
    std::filesystem::rename(directory_ / "next", directory_ / "now");
  }
  TlsOptions Published(bool mutual) const {
    const std::filesystem::path now = directory_ / "now";
    return {now / "tls.crt", now / "tls.key", mutual ? (now / "ca.crt").string() : "", 1};
  }
  void StartWith(const TlsOptions& tls) {
    ServerOptions options = TestOptions();
    options.tls = tls;
    Start(options);
  }
  // One call over a connection of its own. What the server showed is in `seen`.
  grpc::Status Call(const std::string& roots, const PemPair& client = {}, std::string* seen = nullptr) const {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    const auto channel = grpc::CreateCustomChannel("127.0.0.1:" + std::to_string(server_->grpc_port()),
                                                   grpc::SslCredentials({roots, client.key, client.certificate}), arguments);
    const auto stub = v1::Inference::NewStub(channel);
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    v1::GetModelResponse response;
    const grpc::Status status = stub->GetModel(&context, {}, &response);
    if (seen != nullptr && status.ok()) {
      for (const grpc::string_ref& name : context.auth_context()->FindPropertyValues("x509_common_name"))
        *seen = std::string(name.data(), name.size());
    }
    return status;
  }

  std::filesystem::path directory_;
  int versions_ = 0;
  TestAuthority authority_{"server root"}, clients_{"client root"};
};

TEST_F(TlsTest, AClientThatTrustsTheRootIsServedAndPlainTextIsNot) {
  Publish(authority_.Issue("first"));
  StartWith(Published(false));
  std::string seen;
  EXPECT_TRUE(Call(authority_.certificate(), {}, &seen).ok());
  EXPECT_EQ(seen, "first");
  EXPECT_EQ(Call(clients_.certificate()).error_code(), grpc::UNAVAILABLE);  // another root
  grpc::ClientContext plain;
  v1::GetModelResponse response;
  EXPECT_EQ(stub_->GetModel(&plain, {}, &response).error_code(), grpc::UNAVAILABLE);
}

TEST_F(TlsTest, MutualTlsWantsACertificateOfTheRightRoot) {
  Publish(authority_.Issue("server"), clients_.certificate());
  StartWith(Published(true));
  EXPECT_TRUE(Call(authority_.certificate(), clients_.Issue("alice")).ok());
  EXPECT_EQ(Call(authority_.certificate()).error_code(), grpc::UNAVAILABLE);
  EXPECT_EQ(Call(authority_.certificate(), authority_.Issue("impostor")).error_code(), grpc::UNAVAILABLE);
}

TEST_F(TlsTest, RotatedFilesHoldForNewConnectionsWithoutRestart) {
  Publish(authority_.Issue("first"), clients_.certificate());
  StartWith(Published(true));
  const PemPair alice = clients_.Issue("alice");
  std::string seen;
  ASSERT_TRUE(Call(authority_.certificate(), alice, &seen).ok());
  ASSERT_EQ(seen, "first");
  const TestAuthority other("other client root");
  Publish(authority_.Issue("second"), other.certificate());
  const PemPair bob = other.Issue("bob");
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (seen != "second" && std::chrono::steady_clock::now() < deadline) Call(authority_.certificate(), bob, &seen);
  EXPECT_EQ(seen, "second");
  EXPECT_TRUE(Call(authority_.certificate(), bob).ok());
  EXPECT_EQ(Call(authority_.certificate(), alice).error_code(), grpc::UNAVAILABLE);  // her root is gone
}

TEST_F(TlsTest, FilesThatCannotWorkAreRefusedByName) {
  const PemPair one = authority_.Issue("one"), two = authority_.Issue("two");
  const std::string certificate = Write("one.crt", one.certificate), key = Write("one.key", one.key);
  const std::string other = Write("two.key", two.key), junk = Write("junk", "no PEM");
  const auto refused = [](const TlsOptions& options, absl::StatusCode code, const std::string& word) {
    const auto made = MakeServerCredentials(options);
    ASSERT_FALSE(made.ok()) << word;
    EXPECT_EQ(made.status().code(), code) << made.status();
    EXPECT_THAT(std::string(Message(made.status())), HasSubstr(word));
  };
  refused({certificate, "", "", 1}, absl::StatusCode::kInvalidArgument, "without tls_key");
  refused({"", key, "", 1}, absl::StatusCode::kInvalidArgument, "without tls_certificate");
  refused({"", "", certificate, 1}, absl::StatusCode::kInvalidArgument, "tls_client_ca");
  refused({certificate + "x", key, "", 1}, absl::StatusCode::kNotFound, "tls_certificate: " + certificate + "x");
  refused({certificate, other, "", 1}, absl::StatusCode::kInvalidArgument, "is not the key of");
  refused({junk, key, "", 1}, absl::StatusCode::kInvalidArgument, "expected a certificate in PEM");
  refused({certificate, junk, "", 1}, absl::StatusCode::kInvalidArgument, "expected a private key in PEM");
  refused({certificate, key, junk, 1}, absl::StatusCode::kInvalidArgument, "tls_client_ca");
  EXPECT_TRUE(MakeServerCredentials({certificate, key, certificate, 1}).ok());
  EXPECT_TRUE(MakeServerCredentials(TlsOptions()).ok());
}

// gRPC itself keeps silent about all of it.
TEST_F(TlsTest, WhatBecomesOfExchangedFilesIsLogged) {
  const PemPair one = authority_.Issue("one"), two = authority_.Issue("two");
  const std::string certificate = Write("watched.crt", one.certificate), key = Write("watched.key", one.key);
  const TlsOptions options = {certificate, key, "", 1};
  TlsFilesWatch watch(options);
  const auto look = [&](bool usable) {
    ::testing::internal::CaptureStderr();
    EXPECT_EQ(watch.Look(), usable);
    EXPECT_EQ(CheckTlsFiles(options).ok(), usable);
    return ::testing::internal::GetCapturedStderr();
  };
  EXPECT_EQ(look(true), "") << "nothing has changed";
  Write("watched.crt", two.certificate);
  EXPECT_THAT(look(false), AllOf(HasSubstr("certificates cannot be used"), HasSubstr("is not the key of")));
  EXPECT_EQ(look(false), "") << "said once";
  Write("watched.key", two.key);
  EXPECT_THAT(look(true), HasSubstr("certificates reloaded"));
  EXPECT_EQ(look(true), "");
  std::filesystem::remove(key);
  EXPECT_THAT(look(false), HasSubstr("cannot be opened"));
  Write("watched.key", two.key);
  EXPECT_EQ(look(true), "") << "the pair that is in use";
}

TEST(Address, LoopbackIsWhatOnlyThisMachineReaches) {
  for (const char* yes : {"127.0.0.1:8500", "127.3.2.1:0", "[::1]:8500", "localhost:1", "unix:/run/switchyard"})
    EXPECT_TRUE(IsLoopback(yes)) << yes;
  for (const char* no : {"0.0.0.0:8500", "[::]:8500", "10.0.0.1:1", "128.0.0.1:1", "127.0.0.1.example.com:1", "localhost.example.com:1",
                         "::1:8500", "8500", "", ":1", "[]:1", "[::1]x:1", "*:8500"})
    EXPECT_FALSE(IsLoopback(no)) << no;
}

TEST(Address, ThePlainAdministrationPortStaysOnLoopback) {
  EXPECT_TRUE(CheckAdminAddress("admin", "127.0.0.1:8502", {}).ok());
  EXPECT_TRUE(CheckAdminAddress("admin", "", {}).ok());
  EXPECT_TRUE(CheckAdminAddress("admin", "0.0.0.0:8502", {"c", "k", "", 1}).ok());
  const Status refused = CheckAdminAddress("admin", "0.0.0.0:8502", {});
  EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(Message(refused)), HasSubstr("tls_certificate"));
}

}  // namespace
}  // namespace switchyard
