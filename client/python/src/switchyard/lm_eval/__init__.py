"""The lm-evaluation-harness plug-in: `--model switchyard`.

lm-eval finds models in its own registry only, not by entry points, so something has to import this package before its command line runs:

    python -m switchyard.lm_eval --model switchyard --model_args address=127.0.0.1:8500,routing=base --tasks TASK

In a program of your own, `import switchyard.lm_eval` and then use lm_eval as ever.
"""

import lm_eval.models  # noqa: F401 - fills the registry, which lm-eval does by itself only when it is empty
from lm_eval.api.registry import model_registry

if "switchyard" not in model_registry:
    # The class itself is imported when it is first asked for.
    model_registry.register("switchyard", target="switchyard.lm_eval.model:SwitchyardLM")
