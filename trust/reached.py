"""Which tests reach which function, those too that reach it through what tests share."""

from __future__ import annotations

import gc
import json
import math
import resource
import sys
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest
from mutmut.runners.harness import PytestRunner
from mutmut.state import state
from mutmut.utils.file_utils import change_cwd


class Runner(PytestRunner):
    """mutmut's own, but for how it learns which tests to run, and for limits of processor time.

    Args:
        limits: seconds of processor time for the tests of each function.
    """

    def __init__(self, limits: Mapping[str, float]) -> None:
        super().__init__()
        self._limits = limits

    def warm_up(self) -> None:
        super().warm_up()
        # Each process forked from this one would else search all that was imported, four times.
        gc.collect()
        gc.freeze()

    def run_tests(self, *, mutant_name: str | None, tests: Iterable[str]) -> int:
        limit = self._limits.get(str(mutant_name).partition("__mutmut_")[0])
        if limit is not None:
            most = math.ceil(time.process_time() + limit)
            resource.setrlimit(resource.RLIMIT_CPU, (most, most + 5))
        return super().run_tests(mutant_name=mutant_name, tests=tests)

    def run_stats(self, *, tests: Iterable[str]) -> int:
        plugin = Plugin()
        with change_cwd("mutants"):
            ended = self.execute_pytest(self._pytest_args_regular_run(tests), plugins=[plugin])
        plugin.reached().write(Path("mutants/reached.json"))
        return int(ended)


@dataclass(frozen=True)
class Reached:
    """Which tests reach which function, and how long they take.

    Attributes:
        tests: by function, those that reach it.
        seconds: of processor time by test, without what is shared.
        shared: by shared fixture, the seconds that it takes to make.
        uses: by test, the shared fixtures that it uses.
    """

    tests: dict[str, list[str]]
    seconds: dict[str, float]
    shared: dict[str, float]
    uses: dict[str, list[str]]

    @classmethod
    def nothing(cls) -> Reached:
        return cls({}, {}, {}, {})

    @classmethod
    def read(cls, path: Path) -> Reached:
        return cls(**json.loads(path.read_text(encoding="utf-8")))

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    def without(self, files: Collection[str]) -> Reached:
        """But for the tests in some files."""

        def stays(test: str) -> bool:
            return test.partition("::")[0] not in files

        return Reached(
            {name: list(filter(stays, tests)) for name, tests in self.tests.items()},
            {test: n for test, n in self.seconds.items() if stays(test)},
            self.shared,
            {test: names for test, names in self.uses.items() if stays(test)},
        )

    def merged(self, other: Reached) -> Reached:
        names = {*self.tests, *other.tests}
        return Reached(
            {n: sorted({*self.tests.get(n, ()), *other.tests.get(n, ())}) for n in names},
            self.seconds | other.seconds,
            self.shared | other.shared,
            self.uses | other.uses,
        )

    def chosen(self, function: str, within: float) -> tuple[list[str], float]:
        """The quickest tests of a function, as many as fit in some seconds, at least one.

        Returns them and the seconds they take.
        """
        made: set[str] = set()
        chosen, total = [], 0.0
        for test in sorted(self.tests.get(function, ()), key=lambda t: self._cost(t, set())):
            cost = self._cost(test, made)
            if not chosen or total + cost <= within:
                chosen.append(test)
                total += cost
                made.update(self.uses[test])
        return chosen, total

    def _cost(self, test: str, made: set[str]) -> float:
        return self.seconds[test] + sum(self.shared[f] for f in self.uses[test] if f not in made)


class Plugin:
    """A plugin of pytest that notes the functions reached and the seconds taken.

    What a shared fixture reaches, each test that uses it reaches; what a cache holds back is
    forgotten before every test.
    """

    def __init__(self) -> None:
        self._own: dict[str, set[str]] = {}
        self._seconds: dict[str, float] = {}
        self._shared: dict[str, set[str]] = {}
        self._shared_seconds: dict[str, float] = defaultdict(float)
        self._uses: dict[str, list[str]] = {}

    def reached(self) -> Reached:
        uses = {t: sorted(set(names) & set(self._shared)) for t, names in self._uses.items()}
        tests = defaultdict(list)
        for test, own in self._own.items():
            for function in sorted(own.union(*(self._shared[f] for f in uses[test]))):
                tests[function].append(test)
        return Reached(dict(tests), self._seconds, dict(self._shared_seconds), uses)

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item):
        _forget()
        state()._stats.clear()
        began, before = time.process_time(), sum(self._shared_seconds.values())
        yield
        shared = sum(self._shared_seconds.values()) - before
        self._own[item.nodeid] = set(state()._stats)
        self._seconds[item.nodeid] = max(time.process_time() - began - shared, 0.0)
        definitions = item._fixtureinfo.name2fixturedefs.values()
        self._uses[item.nodeid] = [_key(d) for found in definitions for d in found]

    @pytest.hookimpl(hookwrapper=True)
    def pytest_fixture_setup(self, fixturedef):
        if fixturedef.scope == "function":
            yield
            return
        others = set(state()._stats)
        state()._stats.clear()
        began, before = time.process_time(), sum(self._shared_seconds.values())
        yield
        within = sum(self._shared_seconds.values()) - before
        self._shared_seconds[_key(fixturedef)] += time.process_time() - began - within
        self._shared.setdefault(_key(fixturedef), set()).update(state()._stats)
        state()._stats.update(others)


def _key(fixturedef) -> str:
    return f"{fixturedef.baseid}::{fixturedef.argname}"


def _forget() -> None:
    """Empty every cache of mpprobe's functions."""
    for name, module in list(sys.modules.items()):
        if name.startswith("mpprobe."):
            for value in list(vars(module).values()):
                if hasattr(value, "cache_clear"):
                    value.cache_clear()
