"""tools/check_layers must name a forbidden arrow, a LibTorch header and a gRPC header in the wrong room, and accept a clean tree."""
import pathlib
import subprocess
import sys
import tempfile

CHECK = sys.argv[1]


def run(files):
    with tempfile.TemporaryDirectory() as root:
        for name, text in files.items():
            path = pathlib.Path(root, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        done = subprocess.run([sys.executable, CHECK, root], capture_output=True, text=True)
        return done.returncode, done.stdout


clean = {"engine/text/a.h": '#include "engine/base/status.h"\n'}
assert run(clean)[0] == 0, run(clean)
for name, line, expected in [
    ("engine/base/a.h", '#include "engine/text/tokenizer.h"\n', "engine/base must not include engine/text"),
    ("engine/runtime/a.h", "#include <ATen/ATen.h>\n", "LibTorch header"),
    ("engine/model/a.h", "#include <grpcpp/grpcpp.h>\n", "gRPC or protobuf header"),
    ("server/a.h", '#include "engine/runner/torch_model_runner.h"\n', "server may include only"),
    ("client/a.h", '#include "server/server.h"\n', "client must not include server"),
    ("trainer/data/a.h", "#include <ATen/ATen.h>\n", "LibTorch header"),
    ("trainer/run/a.h", "#include <grpcpp/grpcpp.h>\n", "gRPC or protobuf header"),
    ("trainer/nn/a.h", '#include "trainer/run/loop.h"\n', "trainer/nn must not include trainer/run"),
    ("trainer/main.cc", '#include "client/mcq.h"\n', "trainer must not include client"),
]:
    code, out = run({**clean, name: line})
    assert code == 1 and expected in out and f"{name}:1" in out, (name, code, out)
print("9 wrong arrows found, a clean tree accepted")
