"""The section of queries: how evenly a ranking is good, and the queries where it is worst."""

from __future__ import annotations

from typing import Any

import numpy as np

from tutelage.report.components import Block, MissingDataError, Section, Table
from tutelage.report.run_record import ROLES, RunRecord

WORST = 10
"""The number of queries that are listed."""
COLUMNS = ("query", "documents", "relevant")
"""The first columns of the table of queries; the measures follow, of which the second is NDCG@10."""
NDCG = 4


def queries(run: RunRecord) -> Section:
    """Show quantiles of the queries' NDCG@10 for each model, and the worst queries of the student."""
    tables = {
        role: np.asarray(phases[0].tables["queries"], float)
        for role in ROLES
        if (phases := run.phases_with_role(role)) and "queries" in phases[0].tables
    }
    if not tables:
        raise MissingDataError("it needs the table of queries")
    blocks: list[Block] = [_quantiles(run, tables)]
    if "student" in tables:
        blocks.append(_worst(run, tables))
    left_out = int((tables[next(iter(tables))][:, 2] == 0).sum())
    note = f" {left_out} without a relevant document are left out." if left_out else ""
    return Section("Queries", f"NDCG@10 of each {run.judged_on} query, first seed.{note}", blocks)


def _quantiles(run: RunRecord, tables: dict[str, Any]) -> Table:
    shares = (0.05, 0.25, 0.5, 0.75, 0.95)
    rows = []
    for role, table in tables.items():
        values = table[table[:, 2] > 0][:, NDCG]
        rows.append([run.label(role), *(f"{np.quantile(values, share):.3f}" for share in shares)])
    return Table("NDCG@10 by query, quantiles", ["Model", *(f"{share:.0%}" for share in shares)], rows)


def _worst(run: RunRecord, tables: dict[str, Any]) -> Table:
    """List the queries where the student's NDCG@10 is lowest, with the other models' there."""
    student = tables["student"]
    order = np.argsort(np.where(student[:, 2] > 0, student[:, NDCG], np.inf), kind="stable")[:WORST]
    rows = [
        [*(str(int(value)) for value in student[row, :3]), *(f"{table[row, NDCG]:.3f}" for table in tables.values())]
        for row in order
        if student[row, 2] > 0
    ]
    head = ["Query", "Documents", "Relevant", *(run.label(role) for role in tables)]
    return Table("The student's worst queries", head, rows)
