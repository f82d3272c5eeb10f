// TLS, tokens and tenants, from the command line to what the server saw.
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "client/command_line.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/client_testing.h"
#include "tests/client/fake_server.h"
#include "tests/testing/certificates.h"

namespace switchyard::client {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class SecureConnectionTest : public ::testing::Test {
 protected:
  ExitCode Run(std::vector<std::string> arguments) {
    std::istringstream in;
    terminal_.out.str("");
    terminal_.err.str("");
    CommandEnvironment environment{in, terminal_.terminal, wait_.Policy(0)};
    return RunCommandLine(std::move(arguments), environment);
  }
  std::string File(const std::string& name, const std::string& text) { return dir_.Write(name, text); }
  std::string err() const { return terminal_.err.str(); }

  TempDir dir_;
  FakeWait wait_;
  StringTerminal terminal_;
};

std::string MetadataOf(const grpc::ServerContext& context, const char* key) {
  const auto found = context.client_metadata().find(key);
  return found == context.client_metadata().end() ? "" : std::string(found->second.data(), found->second.size());
}

TEST_F(SecureConnectionTest, TokenAndTenantReachTheServer) {
  std::string token, tenant;
  FakeServer server({.model = [&](const grpc::ServerContext& context) {
    token = MetadataOf(context, "authorization");
    tenant = MetadataOf(context, "switchyard-tenant");
    return grpc::Status::OK;
  }});
  const std::string file = File("token", "s3cret-s3cret\n");
  ASSERT_EQ(Run({"model", "--server", server.address(), "--token-file", file, "--tenant", "team-a"}), kExitOk) << err();
  EXPECT_EQ(token, "Bearer s3cret-s3cret");
  EXPECT_EQ(tenant, "team-a");
}

TEST_F(SecureConnectionTest, ATokenFileThatCannotBeOneIsRefusedWithoutShowingIt) {
  EXPECT_EQ(Run({"model", "--token-file", dir_.File("none")}), kExitUsage);
  EXPECT_THAT(err(), HasSubstr("cannot be opened"));
  EXPECT_EQ(Run({"model", "--token-file", File("empty", "\n")}), kExitUsage);
  EXPECT_THAT(err(), HasSubstr("empty"));
  EXPECT_EQ(Run({"model", "--token-file", File("two", "first\nsecond\n")}), kExitUsage);
  EXPECT_THAT(err(), AllOf(HasSubstr("one token"), Not(HasSubstr("second"))));
}

TEST_F(SecureConnectionTest, MutualTlsWithTheRightFilesOnly) {
  const TestAuthority servers("server root"), clients("client root");
  const PemPair server_pair = servers.Issue("server"), client_pair = clients.Issue("client");
  grpc::SslServerCredentialsOptions tls(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  tls.pem_root_certs = clients.certificate();
  tls.pem_key_cert_pairs = {{server_pair.key, server_pair.certificate}};
  FakeServer server({.credentials = grpc::SslServerCredentials(tls)});
  const std::string ca = File("ca.crt", servers.certificate()), certificate = File("client.crt", client_pair.certificate);
  const std::string key = File("client.key", client_pair.key);
  EXPECT_EQ(Run({"model", "--server", server.address(), "--tls-ca", ca, "--tls-cert", certificate, "--tls-key", key}), kExitOk) << err();
  EXPECT_EQ(Run({"model", "--server", server.address(), "--tls-ca", ca}), kExitUnreachable);
  EXPECT_EQ(Run({"model", "--server", server.address()}), kExitUnreachable);
  EXPECT_THAT(err(), HasSubstr("--tls-ca"));
  EXPECT_EQ(Run({"model", "--server", server.address(), "--tls-ca", ca, "--tls-cert", certificate}), kExitUsage);
  EXPECT_EQ(Run({"model", "--tls-ca", File("junk", "x")}), kExitUsage);
  EXPECT_THAT(err(), HasSubstr("PEM"));
}

TEST_F(SecureConnectionTest, RefusalsSayWhatToDo) {
  grpc::Status refusal;
  FakeServer server({.model = [&](const grpc::ServerContext&) { return refusal; }});
  refusal = {grpc::StatusCode::UNAUTHENTICATED, "no token"};
  EXPECT_EQ(Run({"model", "--server", server.address()}), kExitRefused);
  EXPECT_THAT(err(), AllOf(HasSubstr("no token"), HasSubstr("--token-file")));
  refusal = {grpc::StatusCode::PERMISSION_DENIED, "lacks the role admin"};
  EXPECT_EQ(Run({"model", "--server", server.address()}), kExitRefused);
  EXPECT_THAT(err(), HasSubstr("lacks the role admin"));
}

}  // namespace
}  // namespace switchyard::client
