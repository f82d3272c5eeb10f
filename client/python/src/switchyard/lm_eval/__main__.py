"""lm-eval's command line, with `switchyard` among its models."""

import switchyard.lm_eval  # noqa: F401 - registers the model


def main() -> None:
    """Runs lm-eval with the process's own arguments."""
    from lm_eval.__main__ import cli_evaluate

    cli_evaluate()


if __name__ == "__main__":
    main()
