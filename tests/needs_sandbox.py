"""Marks the tests that run programs in the sandbox; where it cannot run, it is said twice."""

import warnings

import pytest

from tools.sandbox import unavailable

if reason := unavailable():
    warnings.warn(f"the tests that need the sandbox are skipped: {reason}", stacklevel=1)

needs_sandbox = pytest.mark.skipif(reason is not None, reason=f"no sandbox: {reason}")
