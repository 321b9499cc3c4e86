"""The kit finds what is broken, and nothing where nothing is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from kvcore import plugins
from kvcore.persistence import Persistence
from kvcore.testing import Claims, PersistenceSuite, PowerFailure
from kvcore.testing.rig import Rig
from tests.testing import journal
from tests.testing.journal import Journal

CLAIMS = Claims(log=True, snapshots=True, survives_kill=True, survives_power=True)
SEEDS = [{"kvcore_seed": seed} for seed in range(40)]
LIVES = [{"kvcore_seeds": range(seed, seed + 10)} for seed in range(0, 200, 10)]
load_policy = plugins.load_policy


def install(monkeypatch: pytest.MonkeyPatch, policy: type[Persistence]) -> None:
    """As if a distribution had brought it."""
    monkeypatch.setattr(
        plugins, "load_policy", lambda name: policy if name == "journal" else load_policy(name)
    )


class TestJournal(PersistenceSuite):
    persistence = "journal"
    claims = CLAIMS

    @pytest.fixture(autouse=True)
    def _installed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        install(monkeypatch, Journal)

    # It runs in a process of its own, where no fixture installs anything.
    test_acknowledged_writes_survive_kill_9 = None  # type: ignore[assignment]


BROKEN: list[tuple[type[Journal], str, list[dict[str, Any]]]] = [
    (journal.NeverSyncs, "test_kills_and_power_failures", LIVES),
    (
        journal.NeverSyncs,
        "test_effects_are_repeated_exactly",
        [{"commands": [("SET", "a", 1)]}] * 9,
    ),
    (journal.LeavesTornEnd, "test_kills_and_power_failures", LIVES),
    (journal.TearsTransactions, "test_transactions_are_there_whole_or_not_at_all", SEEDS),
    (journal.TearsTransactions, "test_kills_and_power_failures", LIVES),
    (
        journal.BelievesFailedSyncs,
        "test_a_failed_sync_is_never_believed",
        [{"nth": n} for n in (0, 1, 2)],
    ),
    (
        journal.RetriesFailedSyncs,
        "test_a_failed_sync_is_never_believed",
        [{"nth": n} for n in (0, 1, 2)],
    ),
    (journal.RetriesFailedSyncs, "test_kills_and_power_failures_with_a_failing_disk", LIVES),
    (journal.DropsWhatFailed, "test_kills_and_power_failures_with_a_failing_disk", LIVES),
    (
        journal.DropsWhatFailed,
        "test_a_full_disk_refuses_writes_until_there_is_room",
        [{"healed_by": "time"}],
    ),
    (journal.LeavesShortWrites, "test_kills_and_power_failures_with_a_failing_disk", LIVES),
    (
        journal.NeverRecovers,
        "test_a_full_disk_refuses_writes_until_there_is_room",
        [{"healed_by": "time"}],
    ),
    (journal.NeverRecovers, "test_kills_and_power_failures_with_a_failing_disk", LIVES),
    (journal.RenamesUnsynced, "test_an_interrupted_snapshot_leaves_the_old_or_the_new", [{}] * 5),
    (journal.RenamesUnsynced, "test_kills_and_power_failures", LIVES),
    (journal.ForgetsTheFolder, "test_a_snapshot_is_durable_at_once", [{}]),
    (journal.ForgetsTheFolder, "test_kills_and_power_failures", LIVES),
    (journal.RemovesFirst, "test_an_interrupted_snapshot_leaves_the_old_or_the_new", [{}] * 5),
    (journal.WritesInPlace, "test_an_interrupted_snapshot_leaves_the_old_or_the_new", [{}] * 5),
    (journal.LeavesTemporaries, "test_files_do_not_pile_up", SEEDS),
    (journal.SwallowsDamage, "test_damage_is_refused_and_left_alone", [{"where": "middle"}]),
    (journal.CutsDamage, "test_damage_is_refused_and_left_alone", [{"where": "middle"}]),
    (journal.ForgetsAdoption, "test_adopted_data_is_kept_from_the_start", [{}]),
    (journal.ForgetsAdoption, "test_another_policy_takes_over_and_gives_back", [{}]),
    (journal.AdoptsOnTop, "test_adopted_data_takes_the_place_of_what_lay_there", [{}]),
    (journal.NeverSyncs, "test_what_was_waited_for_survives_a_power_failure", [{}]),
    (journal.LosesDatabases, "test_databases_are_kept_apart", [{}]),
    (journal.TakesBytesForText, "test_keys_are_bytes", [{}]),
    (journal.LosesExpiry, "test_reload_puts_back_what_is_there", [{}]),
    (
        journal.KeepsTheLastCommit,
        "test_a_log_keeps_everything_however_it_is_closed",
        [{"save": False}],
    ),
    (journal.WritesWhileProbing, "test_probe_changes_nothing", [{}]),
    (journal.ClaimsNoFile, "test_probe_finds_the_data_and_claims_every_file", [{}]),
    (journal.LoadsTwice, "test_reload_puts_back_what_is_there", [{}]),
]


@pytest.mark.parametrize(
    ("policy", "test", "runs"), BROKEN, ids=[f"{p.__name__}-{t[5:]}" for p, t, _ in BROKEN]
)
def test_a_broken_promise_is_found(
    policy: type[Journal],
    test: str,
    runs: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    install(monkeypatch, Journal)
    assert not fails(test, runs[0], 0, monkeypatch)
    install(monkeypatch, policy)
    assert any(fails(test, run, seed, monkeypatch) for seed, run in enumerate(runs))


def fails(test: str, run: dict[str, Any], seed: int, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether a test of the kit, run by itself, fails."""
    suite = TestJournal()
    method = getattr(suite, test)
    names = method.__func__.__code__.co_varnames[: method.__func__.__code__.co_argcount]
    arguments = dict(run)
    with monkeypatch.context() as patch:
        if "monkeypatch" in names:
            arguments["monkeypatch"] = patch
        rig = Rig("journal", CLAIMS, {}, "", seed=seed)
        patch.setattr("os.getpid", rig.getpid)
        try:
            with rig.ended():
                method(rig, **arguments)
        except (Exception, PowerFailure, pytest.fail.Exception):
            return True
    return False


@pytest.fixture(autouse=True)
def _quiet(capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    yield
    capsys.readouterr()
