"""The model store: registered versions and who holds which seat (MLflow alias). The sole way to MLflow.

champion            serves; always the champion of the data set that was run last
previous            held the seat before; `rollback` seats it again
challenger          was judged last
champion-<dataset>  previous-<dataset>: the same for each data set, so that going back to one finds its champion again

`champion` moves in one step and is never deleted: whenever a process dies, the old or the new champion is seated.
"""

from __future__ import annotations

import getpass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rectory.errors import UsageError
from rectory.files import read_json, sha256_json, tree_digests
from rectory.registry import audit
from rectory.registry.connection import local_path
from rectory.registry.record import DIGESTS_FILE
from rectory.registry.sample_lists import SAMPLE_FILE, sample_lists
from rectory.registry.versions import MODEL_NAME, Registered, Version, Versions

__all__ = ["MODEL_NAME", "ModelStore", "Registered", "Version", "blocked"]

CHAMPION = "champion"
PREVIOUS = "previous"
CHALLENGER = "challenger"
DECISION_FILE = "decision.json"
BLOCKED = "blocked"
"""Tag with the reason why a version may not be promoted by itself; empty: no longer."""
_MAX_TAG = 5000


class ModelStore(Versions):
    """Versions and seats of one project; see `Versions` for the arguments."""

    def aliases(self) -> dict[str, str]:
        """Alias -> version number."""
        if not self.connection.exists:
            return {}
        client = self.connection.client()
        found = self.connection.call(
            lambda: client.search_registered_models(f"name = '{MODEL_NAME}'"), "read the champion"
        )
        return {alias: str(number) for alias, number in found[0].aliases.items()} if found else {}

    def champion(self, dataset: str | None = None) -> Version | None:
        """Champion of a data set; without one named, the champion that serves. None before the first promotion."""
        return self._seated(CHAMPION, dataset)

    def previous(self, dataset: str | None = None) -> Version | None:
        """Who held the seat before the champion."""
        return self._seated(PREVIOUS, dataset)

    def challenge(self, version: Version) -> None:
        """Name the version that is judged now."""
        with self.writing():
            self._set(CHALLENGER, version)

    def promote(self, version: Version, reason: str, by: str | None = None) -> None:
        """Make `version` the champion: audit line first, then `previous`, and `champion` in one step.

        Dying in between leaves the old champion; doing it again completes it. Seating the champion again is harmless.
        A block on the version ends here: the gate never gets so far with one, so whoever does means it.
        """
        with self.writing():
            old = self.champion(version.dataset)
            self._audit("promoted", version, old, reason, by)
            self._unblock(version)
            self._remember_serving()
            self._set_previous(version.dataset, old if old and old.version != version.version else None)
            self._set(CHAMPION, version)
            self._set(_of(CHAMPION, version.dataset), version)

    def renew(self, refit: Version, text: str) -> str | None:
        """Let a refit serve for the version whose recipe it is; gives why it may not.

        `previous` stays who served before that version; of two refits of it, the earlier is the previous one.

        Args:
            text: for the audit log.
        """
        with self.writing():
            old = self.champion(refit.dataset)
            if (why := self.no_refit(refit.dataset, str(refit.refit_of), refit.tags["as_of"])) is not None:
                return why
            if old is not None and old.version != refit.version:
                self._audit("renewed", refit, old, text, None)
                self._remember_serving()
                self._set_previous(refit.dataset, old if old.refit_of is not None else None)
                self._set(CHAMPION, refit)
                self._set(_of(CHAMPION, refit.dataset), refit)
            return None

    def no_refit(self, dataset: str, number: str, as_of: str) -> str | None:
        """Why no refit of version `number` with the data of `as_of` (ISO) may serve; None: it may.

        Another holds the seat, a refit with newer data serves already, or one was rolled back.
        """
        held = self.champion(dataset)
        if held is None or self.measured(held).version != number:
            return f"{f'version {held.version}' if held else 'nobody'} holds the seat of version {number} by now"
        if held.refit_of and datetime.fromisoformat(held.tags["as_of"]) > datetime.fromisoformat(as_of):
            return f"version {held.version} serves, a refit with newer data (as of {held.tags['as_of']})"
        for one in self.versions(dataset):
            if one.refit_of == number and (why := blocked(one)) is not None:
                return f"refit {one.version} of version {number} is blocked: {why}; `rectory unblock {one.version}`"
        return None

    def rollback(
        self, to: str | None = None, reason: str = "", by: str | None = None, *, block: bool = True
    ) -> Version:
        """Seat the previous champion, or version `to`, again; gives the new champion.

        Args:
            block: the version that is left may not be promoted by itself again; see `blocked`. Of a refit that goes
                for another version's sake, so is the version whose recipe it is.
        Raises:
            UsageError: there is no champion or nobody to go back to, or the previous one is blocked.
        """
        with self.writing():
            old = self.champion()
            if old is None:
                raise UsageError("there is no champion to roll back; `rectory run` makes one.")
            target = self.version(to) if to else self.previous(old.dataset)
            if target is None or target.version == old.version:
                known = ", ".join(f"{one.version} ({one.candidate})" for one in self.versions(old.dataset)[:10])
                raise UsageError(
                    f"version {old.version} ({old.candidate}) has no {'other' if to else 'previous'} champion to go "
                    f"back to. Name a version: `rectory rollback --to N`; registered are {known}."
                )
            why = blocked(target)
            if why and not to:
                raise UsageError(
                    f"the previous champion, version {target.version} ({target.candidate}), is blocked: {why}. "
                    f"If it shall serve all the same, name it: `rectory rollback --to {target.version}`."
                )
            self._audit("rolled back", target, old, reason or "asked for by hand", by)
            if block:
                left = {old.version, old.refit_of} - {target.version, target.refit_of}
                for one in self.versions(old.dataset):
                    if one.version in left:
                        self._block(one, f"rolled back by {by or user_name()}: {reason or 'no reason was given'}")
            self._unblock(target)
            self._remember_serving()
            # The champion first: were `previous` moved first, dying in between would forget whom to go back to.
            self._set(CHAMPION, target)
            self._set(_of(CHAMPION, target.dataset), target)
            self._set_previous(target.dataset, old if old.dataset == target.dataset else None)
            return target

    def block(self, version: Version, reason: str, by: str | None = None) -> None:
        """Keep a version from being promoted by itself; by hand it can."""
        with self.writing():
            self._audit("blocked", version, None, reason, by)
            self._block(version, f"{by or user_name()}: {reason}")

    def unblock(self, version: Version, reason: str, by: str | None = None) -> bool:
        """Let the gate judge the version like any other again; False: it was not blocked."""
        with self.writing():
            if blocked(version) is None:
                return False
            self._audit("unblocked", version, None, reason, by)
            self._unblock(version)
            return True

    def seat_champion_of(self, dataset: str) -> bool:
        """Let the champion of `dataset` serve (again), after another data set's was seated; False: it has none."""
        with self.writing():
            own, serving = self.champion(dataset), self.champion()
            if own is None:
                return False
            if serving is None or serving.version != own.version:
                reason = f"the run was for {dataset}: its champion serves again"
                self._audit("seated", own, serving, reason, None)
                self._remember_serving()
                self._set_previous(dataset, self.previous(dataset))
                self._set(CHAMPION, own)
            return True

    def record_decision(self, version: Version, decision: dict[str, Any]) -> None:
        """Keep a decision of the gate, yes or no, with the version it was about (tags, decision.json) and in the audit.

        decision: {promoted: bool, reasons: [...], ...} as promote writes it.
        """
        reasons = [one["text"] if isinstance(one, dict) else str(one) for one in decision["reasons"]]
        client, call = self.connection.client(), self.connection.call
        with self.writing():
            facts = {"version": version.version, "candidate": version.candidate, "dataset": version.dataset}
            audit.append(self.workspace, "judged", {**facts, "promoted": decision["promoted"], "reasons": reasons})
            champion = self.champion(version.dataset)
            seated = self.measured(champion) if champion is not None else None
            if seated is not None and seated.version == version.version and not decision["promoted"]:
                # "Already champion" must not wipe out the decision that seated it.
                return
            call(lambda: client.log_dict(version.run_id, decision, DECISION_FILE), "store the decision")
            tags = {
                "decision": _word(decision),
                "decision_run": str(decision.get("run_id", "")),
                "decision_reasons": "\n".join(reasons)[:_MAX_TAG],
            }
            for name, text in tags.items():
                self._tag(version, name, text)

    def note(self, version: Version, event: str, by: str, text: str) -> None:
        """What a person (or the clock) said about a version that waited for approval: a tag and an audit line."""
        with self.writing():
            self._audit(event, version, None, text, by)
            self._tag(version, "approval", f"{event} by {by}: {text}"[:_MAX_TAG])

    def rewritten(self, version: Version, data: str | None) -> None:
        """Note that the version's files were changed on purpose: new digests and lists, and that it can't be reproduced
        any more.

        Args:
            data: the data version that takes the place of the one it was made from; None: that one stays.
        """
        digests, lists = tree_digests(self.bundle_folder(version)), sample_lists(self.bundle(version))
        client, call = self.connection.client(), self.connection.call
        with self.writing():
            call(lambda: client.log_dict(version.run_id, digests, DIGESTS_FILE), "note a version's digests")
            call(lambda: client.log_dict(version.run_id, lists, SAMPLE_FILE), "note a version's lists")
            tags = {"bundle_hash": sha256_json(digests), "reproducible": "false", "rewritten": "a user was forgotten"}
            for name, text in {**tags, **({"snapshot_hash": data} if data else {})}.items():
                self._tag(version, name, text)

    def files_of(self, version: Version) -> list[Path]:
        """Local folders of a version's model and of its run's artifacts; what lies elsewhere is not among them."""
        client, call = self.connection.client(), self.connection.call
        model = call(lambda: client.get_logged_model(version.model_id), "find a version's files")
        run = call(lambda: client.get_run(version.run_id), "find a version's files")
        places = [local_path(uri) for uri in (model.artifact_location, run.info.artifact_uri)]
        return [place for place in places if place is not None]

    def remove(self, version: Version) -> None:
        """Take a version that holds no seat off the store, with its run; its files are the caller's to remove.

        Raises:
            UsageError: it holds a seat.
        """
        client, call = self.connection.client(), self.connection.call
        with self.writing():
            held = [alias for alias, number in self.aliases().items() if number == version.version]
            if held:
                raise UsageError(f"version {version.version} is {', '.join(held)} and cannot be removed.")
            facts = {"version": version.version, "candidate": version.candidate, "dataset": version.dataset}
            audit.append(self.workspace, "removed", {**facts, "reason": "rectory gc", "by": user_name()})
            call(lambda: client.delete_model_version(MODEL_NAME, version.version), "remove a version")
            call(lambda: client.delete_logged_model(version.model_id), "remove a version's model")
            call(lambda: client.delete_run(version.run_id), "remove a version's run")

    def status(self, decisions: int = 5) -> dict[str, Any]:
        """Who serves and why: {champion, previous, challenger, data, drift, last_decisions}, newest decision first."""
        champion = self.champion()
        return {
            "champion": self._facts(champion) if champion else None,
            "previous": _named(self.previous(champion.dataset)) if champion else None,
            "challenger": _named(self._seated(CHALLENGER, None)),
            "data": {
                "dataset": champion.dataset,
                "hash": champion.tags["snapshot_hash"],
                "as_of": champion.tags["as_of"],
            }
            if champion
            else None,
            "drift": _last_line(self.workspace),
            "last_decisions": audit.read(self.workspace, decisions)[::-1],
        }

    def _facts(self, version: Version) -> dict[str, Any]:
        metrics = self.artifact(version, "metrics.json")
        return {
            **(_named(version) or {}),
            "kind": version.tags["kind"],
            "dataset": version.dataset,
            "trained_at": version.tags.get("trained_at", version.created),
            "as_of": version.tags["as_of"],
            "lineage_key": version.lineage_key,
            "refit_of": version.refit_of,
            "reproducible": version.tags["reproducible"] == "true",
            "metrics": read_json(metrics)["metrics"] if metrics else {},
        }

    def _seated(self, seat: str, dataset: str | None) -> Version | None:
        """Holder of a seat. The plain alias moves first, so it is believed wherever it is about the data set."""
        aliases = self.aliases()
        if not aliases:
            return None
        by_number = {one.version: one for one in self.versions()}
        plain = by_number.get(aliases.get(seat, ""))
        if dataset is None or (plain is not None and plain.dataset == dataset):
            return plain
        own = by_number.get(aliases.get(_of(seat, dataset), ""))
        return own if own is not None and own.dataset == dataset else None

    def _remember_serving(self) -> None:
        """Complete what a killed process may have left: the serving champion is its data set's champion."""
        serving, aliases = self.champion(), self.aliases()
        if serving is not None and aliases.get(_of(CHAMPION, serving.dataset)) != serving.version:
            self._set(_of(CHAMPION, serving.dataset), serving)

    def _set_previous(self, dataset: str, previous: Version | None) -> None:
        """None: keep what the data set has; one that belongs to another data set is taken from the plain alias."""
        previous = previous or self.previous(dataset)
        if previous is not None:
            self._set(_of(PREVIOUS, dataset), previous)
            self._set(PREVIOUS, previous)
        elif PREVIOUS in self.aliases():
            client = self.connection.client()
            self.connection.call(
                lambda: client.delete_registered_model_alias(MODEL_NAME, PREVIOUS), "move the alias previous"
            )

    def _set(self, alias: str, version: Version) -> None:
        client = self.connection.client()
        self.connection.call(
            lambda: client.set_registered_model_alias(MODEL_NAME, alias, version.version), f"move the alias {alias}"
        )

    def _tag(self, version: Version, name: str, text: str) -> None:
        client = self.connection.client()
        self.connection.call(
            lambda: client.set_model_version_tag(MODEL_NAME, version.version, name, text), f"tag {version.version}"
        )

    def _block(self, version: Version, text: str) -> None:
        self._tag(version, BLOCKED, f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {text}"[:_MAX_TAG])

    def _unblock(self, version: Version) -> None:
        if blocked(version) is not None:
            self._tag(version, BLOCKED, "")

    def _audit(self, event: str, version: Version, old: Version | None, reason: str, by: str | None) -> None:
        facts = {"version": version.version, "candidate": version.candidate, "dataset": version.dataset}
        before = {"replaces": old.version if old else None}
        audit.append(self.workspace, event, {**facts, **before, "reason": reason, "by": by or user_name()})


def blocked(version: Version) -> str | None:
    """Why a version may not be promoted by itself; None: it may."""
    return version.tags.get(BLOCKED) or None


def _word(decision: dict[str, Any]) -> str:
    if decision.get("waiting"):
        return "waiting"
    return "promoted" if decision["promoted"] else "refused"


def _of(seat: str, dataset: str) -> str:
    """Alias of a data set's own seat; MLflow allows no dots in aliases."""
    return f"{seat}-{dataset.replace('.', '--')}"


def _named(version: Version | None) -> dict[str, Any] | None:
    return {"name": version.candidate, "version": version.version} if version else None


def user_name() -> str:
    """Login name; in a container the user may have none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def _last_line(workspace: Any) -> Any:
    """Newest line of the drift history, None before the first check."""
    import json

    if not workspace.drift_history.is_file():
        return None
    lines = workspace.drift_history.read_text(encoding="utf-8").splitlines()
    return json.loads(lines[-1]) if lines else None
