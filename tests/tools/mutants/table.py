"""The mutants: one line of the product each, and the tests that have to fail for it."""

from __future__ import annotations

from typing import NamedTuple


class Mutant(NamedTuple):
    """
    One invariant broken.

    Attributes:
        symbol: The function, method (``Class.method``) or constant that holds the place, in whichever module.
        old: Text of it; exactly one symbol of this name has it, once.
        new: What is put in its place.
        tests: Files, or tests of a file (``file::name``), below ``tests``; quick ones.
    """

    name: str
    symbol: str
    old: str
    new: str
    tests: tuple[str, ...]


MUTANTS = (
    # What is written down
    Mutant(
        "cursor_before_rows",
        "record",
        "    new = 0\n    for event in plan.events:\n",
        "    new = 0\n"
        "    if plan.cursor is not None:\n"
        "        con.execute(_ADVANCE, (plan.cluster, plan.cursor))\n"
        "        con.execute('COMMIT')\n"
        "        con.execute('BEGIN IMMEDIATE')\n"
        "    for event in plan.events:\n",
        (
            "unit/store/test_intake.py::test_i1_a_plan_that_cannot_be_recorded_leaves_nothing_behind",
            "system/crash/test_system_calls.py::test_d5_t3_a_kill_at_any_system_call_leaves_what_was_promised",
        ),
    ),
    Mutant(
        "intake_not_on_disk",
        "Database.write_durable",
        'return self._transact(work, "FULL")',
        'return self._transact(work, "OFF")',
        ("system/crash/test_syncs.py",),
    ),
    Mutant(
        "duplicate_recorded_twice",
        "MIGRATIONS",
        "UNIQUE (job_id, start_at, cluster)",
        "UNIQUE (id)",
        ("unit/store/test_intake.py::test_record_counts_what_is_new",),
    ),
    Mutant(
        "body_not_frozen",
        "_start",
        "        return 0  # what was written down first stays as it is\n",
        "        con.execute(\n"
        "            'UPDATE started SET (body, crc) = (?, ?) WHERE run_id ='\n"
        "            ' (SELECT id FROM run WHERE job_id = ? AND start_at = ? AND cluster = ?)',\n"
        "            (*encode(event.job), key.job_id, key.start_at, key.cluster),\n"
        "        )\n"
        "        return 0\n",
        ("unit/store/test_intake.py::test_i3_a_repeated_event_leaves_the_frozen_body_alone",),
    ),
    Mutant(
        "crc_not_checked",
        "decode",
        "if zlib.crc32(body) != crc:",
        "if crc is None:",
        ("unit/store/test_outbox.py::test_d6_the_checksum_is_what_counts_not_whether_it_can_be_read",),
    ),
    Mutant(
        "lost_store_is_a_new_one",
        "_loss",
        'return trouble if marker.id or trouble != "missing" else None',
        'return None if trouble in {"missing", "emptied"} else trouble',
        ("unit/store/test_opening.py::test_d7_a_deleted_store_is_missed",),
    ),
    Mutant(
        "indexes_not_compared",
        "check",
        "PRAGMA integrity_check(1)",
        "PRAGMA quick_check(1)",
        ("unit/store/test_damage.py::test_d6_t6_damage_that_looks_like_something_else_is_set_aside_once",),
    ),
    Mutant(
        "damage_in_use_is_forgotten",
        "_outside",
        "and not marker.suspect",
        "",
        (
            "unit/store/test_damage.py::test_d6_damage_that_shows_in_use_is_remembered_and_the_file_set_aside_once",
        ),
    ),
    Mutant(
        "recovered_store_keeps_its_cursor",
        "_ready",
        'con.execute("DELETE FROM cursor")',
        'con.execute("SELECT 1")',
        (
            "unit/store/test_opening.py::test_d9_a_store_put_back_from_elsewhere_is_taken_and_slurm_read_again",
        ),
    ),
    Mutant(
        "reserve_not_used",
        "Database.write_relaxed",
        "if self._reserve.release():",
        "if not self._reserve:",
        ("unit/store/test_space.py",),
    ),
    Mutant(
        "prune_before_settlement",
        "_PRUNE",
        "d.state NOT IN ('done', 'dropped')\n        ) AND NOT EXISTS",
        "d.state = 'never'\n        ) AND NOT EXISTS",
        ("unit/store/test_desk.py::test_i2_prune_never_forgets_what_waits_or_is_dead",),
    ),
    Mutant(
        "later_checkpoint_wins",
        "CheckpointFile.apply_at_start",
        "(at < stored)",
        "(at > stored)",
        ("unit/pipeline/test_parts.py",),
    ),
    # What is told, and in which order
    Mutant(
        "settle_before_answer",
        "DeliveryLoop._attempt",
        "        outcome = await self.sink.deliver(entry)\n",
        "        from slurmsyncd.delivery import Delivered\n\n"
        "        now = self._clock.now()\n"
        "        await self._thread(self._store.settle, [(entry, Delivered(now, now, 'ok'))], now)\n"
        "        outcome = await self.sink.deliver(entry)\n",
        ("unit/pipeline/test_deliver.py::test_h8_a_run_that_always_fails_is_parked_while_others_succeed",),
    ),
    Mutant(
        "stop_before_start_is_settled",
        "_RELEASE_STOP",
        "UPDATE delivery SET state = 'ready', due_at = max(?, hold_until), waiting_since = ?\n"
        "    WHERE run_id = ? AND state = 'idle'",
        "UPDATE delivery SET step = 'stop', state = 'ready', due_at = max(?, hold_until), waiting_since = ?\n"
        "    WHERE run_id = ? AND state IN ('idle', 'ready')",
        ("unit/store/test_outbox.py::test_i4_a_stop_is_due_only_after_its_start_is_settled_and_held",),
    ),
    Mutant(
        "no_stop_hold",
        "_hold_s",
        "hold = policy.stop_hold_s if entry.kind is EventKind.START else 0.0",
        "hold = 0.0",
        ("unit/test_delivery.py",),
    ),
    Mutant(
        "stop_without_proof",
        "RestSink._stop",
        "        if held is not None:\n            return held\n        outcome = await self._send_stop(entry, options)",
        "        outcome = await self._send_stop(entry, options)",
        ("unit/sinks/test_commit.py",),
    ),
    Mutant(
        "hold_not_counted_anew",
        "CommitWatch.unproven_s",
        "since = max(acked_at, now if self.answering_since is None else self.answering_since)",
        "since = acked_at",
        ("unit/sinks/test_commit.py",),
    ),
    Mutant(
        "late_stop_is_not_held",
        "_RELEASE_STOP",
        "due_at = max(?, hold_until)",
        "due_at = ?",
        ("unit/store/test_outbox.py::test_h24_a_stop_that_comes_after_the_acknowledgement_is_held_as_well",),
    ),
    Mutant(
        "dead_start_keeps_its_stop",
        "row_after",
        '._replace(state="dead", due_at=None)',
        '._replace(step="stop", state="ready" if ended else "idle", due_at=now if ended else None)',
        ("unit/store/test_outbox.py::test_i2_a_dead_start_takes_its_stop_along_and_stays_with_its_reason",),
    ),
    Mutant(
        "refused_is_dropped",
        "_after_rejection",
        "        return DeadLetter(reason, detail)\n",
        "        return Delivered(at=now, next_at=now, reason=reason)\n",
        (
            "unit/test_delivery.py",
            "unit/pipeline/test_deliver.py::test_h7_i5_a_refused_run_holds_up_no_other",
        ),
    ),
    Mutant(
        "later_runs_overtake",
        "_by_step",
        "EventKind.START: sql.format(turn=_IN_TURN)",
        'EventKind.START: sql.format(turn="1")',
        ("unit/pipeline/test_order.py",),
    ),
    Mutant(
        "removed_before_it_is_archived",
        "ReplacingSink._make_room",
        "if not other.archived and (",
        "if other.running and (",
        (
            "unit/pipeline/audit/test_requeue.py::test_j2_the_earlier_run_is_removed_only_once_its_metrics_are_archived",
        ),
    ),
    Mutant(
        "rejections_need_no_proof",
        "_after_rejection",
        "if outcome.certain or standing is Standing.PROVEN or entry.attempts + 1 >= policy.dead_after:",
        "if standing is not Standing.SUSPECTED:",
        ("unit/test_delivery.py::test_h7_a_rejection_that_nothing_proves_is_tried_for_a_day",),
    ),
    Mutant(
        "late_acceptances_are_proof",
        "Rejections.accept",
        "self._proven = max(self._proven, began)",
        "self._proven = self._number",
        ("unit/pipeline/test_rejections.py",),
    ),
    Mutant(
        "retry_after_ignored",
        "Pause.extend",
        "self.resume_at = max(began + wait, self.asked_until)",
        "self.resume_at = began + wait",
        ("unit/pipeline/test_health.py::test_h13_a_sink_that_asks_for_a_wait_is_left_alone_for_it",),
    ),
    Mutant(
        "sigterm_without_settling",
        "DeliveryLoop.run",
        "            with anyio.CancelScope(shield=True):\n                await self._settle()\n",
        "            self._verdicts.clear()\n",
        ("unit/pipeline/test_deliver.py::test_what_was_answered_is_settled_even_when_all_is_torn_down",),
    ),
    Mutant(
        "sigterm_cuts_exchanges",
        "Deliveries.finish",
        "            delivery.stop()\n",
        "            delivery.stop()\n        sending.cancel_scope.cancel()\n",
        ("system/crash/test_stopping.py",),
    ),
    # What the backend's answers mean
    Mutant(
        "unique_marker_not_recognised",
        "_start",
        "UNIQUE constraint failed: job_cache",
        "UNIQUE constraint failed: job_cash",
        ("unit/sinks/test_rest.py::test_h5_the_unique_marker_is_already_there",),
    ),
    Mutant(
        "repeat_taken_for_success",
        "outcome_of_lookup",
        "if row.startTime == key.start_at:",
        "if row.startTime:",
        ("unit/sinks/test_rest.py::test_h6_another_start_is_a_refusal",),
    ),
    Mutant(
        "html_taken_for_success",
        "_start",
        "fits = isinstance(_object(answer), dict)",
        "fits = True",
        ("unit/sinks/test_rest.py::test_h17_a_portals_page_is_no_success",),
    ),
    Mutant(
        "exchange_without_deadline",
        "BackendClient._in_time",
        "with anyio.fail_after(self._timeout_s):",
        "with anyio.fail_after(None):",
        ("unit/sinks/test_rest.py::test_h15_an_answer_that_drips_is_given_up_at_the_deadline",),
    ),
    Mutant(
        "redirects_followed",
        "_Connection._once",
        "        response = await self._http.handle_async_request(request)\n",
        "        response = await self._http.handle_async_request(request)\n"
        "        if response.has_redirect_location:\n"
        "            await response.aclose()\n"
        "            request.url = request.url.join(response.headers['Location'])\n"
        "            response = await self._http.handle_async_request(request)\n",
        ("unit/sinks/test_rest.py::test_h14_a_redirect_is_not_followed",),
    ),
    Mutant(
        "body_unbounded",
        "_Connection._once",
        "                if len(body) > limit:\n                    break\n",
        "",
        ("unit/sinks/test_rest.py::test_h16_a_bomb_is_not_read",),
    ),
    Mutant(
        "token_not_read_again",
        "TokenFile.read",
        "if seen is not None and seen == self._seen:",
        "if seen is not None:",
        ("unit/sinks/test_rest.py::test_h9_x9_a_replaced_file_is_noticed",),
    ),
    Mutant(
        "token_quoted",
        "BackendClient._exchange",
        'bytes(body[: call.limit]).replace(token.encode(), b"[token]")',
        "bytes(body[: call.limit])",
        ("unit/sinks/test_rest.py::test_x8_the_token_is_in_no_log_error_or_repr",),
    ),
    Mutant(
        "audit_without_grace",
        "_finding",
        "_acked_before(told, seen.asked_at - grace_s)",
        "_acked_before(told, seen.asked_at)",
        ("unit/planner/test_audit.py",),
    ),
    # What Slurm shows
    Mutant(
        "empty_listing_believed",
        "_records",
        "if not records and parse_number(envelope.last_update) == 0:",
        "if records is None:",
        ("unit/slurm/test_documents.py::test_s2_a_dead_slurmctld_is_no_empty_cluster",),
    ),
    Mutant(
        "absence_is_an_end",
        "plan",
        "    events = (*judge.ended(), *judge.begun())\n",
        "    shown = {item.job_id for item in seen.listed or ()}\n"
        "    gone = [key for key, end in known.items() if end is None and key.job_id not in shown]\n"
        "    over = [Job(key=key, state=JobState.COMPLETED, end_at=seen.looked_at) for key in gone]\n"
        "    events = (*(Stopped(job, trigger) for job in over), *judge.ended(), *judge.begun())\n",
        ("unit/planner/test_planner.py",),
    ),
    Mutant(
        "delimiter_can_be_guessed",
        "AccountingReader._read_sacct",
        "token = secrets.token_hex(8)",
        "token = '|'",
        ("unit/sources/test_commands.py::test_s15_hostile_names_stay_names",),
    ),
    Mutant(
        "cut_listing_taken",
        "_refuse_cut",
        "    if rows.truncated:\n",
        "    if rows.truncated is None:\n",
        ("unit/sources/test_commands.py::test_s7_s8_s9_a_spoilt_answer_is_no_answer",),
    ),
    Mutant(
        "requeue_merges_runs",
        "is_same_run",
        "return not apart or (end_at is not None and seen.end_at == end_at)",
        "return apart <= MOVE_LIMIT_S",
        ("unit/planner/test_planner.py",),
    ),
    Mutant(
        "no_overlap",
        "AccountingProgress._from_cursor",
        "return max(min(cursor, until) - overlap, floor)",
        "return max(min(cursor, until), floor)",
        ("unit/pipeline/test_collect.py::TestTheWindow::test_z6_windows_overlap",),
    ),
    Mutant(
        "future_cursor_believed",
        "AccountingProgress._from_cursor",
        "if cursor > until + overlap:",
        "if cursor < 0:",
        (
            "unit/pipeline/test_collect.py::TestTheWindow::test_z1_z4_a_checkpoint_in_the_future_is_not_believed",
        ),
    ),
    Mutant(
        "cursor_moves_though_accounting_is_down",
        "plan",
        "cursor=seen.accounting_read_until,",
        "cursor=seen.accounting_read_until or seen.looked_at,",
        ("unit/pipeline/test_collect.py::test_s1_accounting_down_leaves_the_cursor_and_sees_what_starts",),
    ),
    Mutant(
        "ends_wait_for_job_details",
        "Planning._ask",
        "            return JobAnswers(details=None, accounting=None, errors=(str(err),), disk_full=err.disk_full)\n",
        "            raise\n",
        ("unit/pipeline/test_collect.py", "unit/pipeline/test_portions.py"),
    ),
    Mutant(
        "command_without_deadline",
        "run",
        "with anyio.move_on_after(timeout_s):",
        "with anyio.CancelScope():",
        ("unit/sources/test_runner.py::test_s4_a_command_that_hangs_is_killed_with_its_children",),
    ),
    Mutant(
        "grandchildren_live_on",
        "_end_group",
        "os.killpg(process.pid, signal.SIGKILL)",
        "os.kill(process.pid, signal.SIGKILL)",
        ("unit/sources/test_runner.py::test_s4_a_command_that_hangs_is_killed_with_its_children",),
    ),
    Mutant(
        "too_many_hosts_expanded",
        "expand_hostlist",
        "    if total > limit:\n",
        "    if total > limit * 10:\n",
        ("unit/slurm/test_hostlist.py",),
    ),
    # Who may speak to us
    Mutant(
        "hint_of_a_stranger_accepted",
        "NotificationFilter.admit_local",
        "if uid in self._uids:",
        "if uid >= 0:",
        ("unit/triggers/test_listener.py::test_k9_a_stranger_is_refused_by_his_uid",),
    ),
    Mutant(
        "secret_not_compared",
        "parse_notification",
        "if secret and not hmac.compare_digest",
        "if not secret and not hmac.compare_digest",
        ("unit/triggers/test_hints.py::test_k11_a_secret_has_to_match",),
    ),
    Mutant(
        "foreign_file_unlinked",
        "_clear",
        "if not stat.S_ISSOCK(found.st_mode) or found.st_uid != os.geteuid():",
        "if not found:",
        ("unit/triggers/test_sockets.py",),
    ),
)
