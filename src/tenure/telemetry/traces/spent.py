"""What calls used up, summed: tokens, and cost as far as prices are known. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

SQL = """coalesce(sum(input_tokens), 0)::BIGINT, coalesce(sum(output_tokens), 0)::BIGINT,
                   coalesce(sum(cached_tokens), 0)::BIGINT, coalesce(sum(reasoning_tokens), 0)::BIGINT,
                   coalesce(sum(cost_usd), 0),
                   count(*) FILTER (
                       WHERE cost_usd IS NULL AND coalesce(input_tokens, 0) + coalesce(output_tokens, 0) > 0)"""
"""The columns of a query over calls that ``figures`` reads."""

ONCE = """SELECT * REPLACE (CASE WHEN own THEN input_tokens END AS input_tokens,
                  CASE WHEN own THEN output_tokens END AS output_tokens,
                  CASE WHEN own THEN cached_tokens END AS cached_tokens,
                  CASE WHEN own THEN reasoning_tokens END AS reasoning_tokens,
                  CASE WHEN own THEN cost_usd END AS cost_usd)
                  FROM (SELECT *, type <> 'otlp.span' OR max(
                      CASE WHEN type IN {calls} AND coalesce(input_tokens, output_tokens) IS NOT NULL THEN 1 ELSE 0 END
                  ) OVER (PARTITION BY workspace, session) = 0 AS own"""
"""The rows of a session, each token in one of them: where model calls were seen, what the agent's own spans say of the
same calls is not counted again."""


def money(value: Any) -> Decimal | None:
    """Dollars as prices write them, to what the column holds; None for anything else."""
    try:
        amount = Decimal(value) if isinstance(value, str) else None
    except InvalidOperation:
        return None
    if amount is None or not amount.is_finite() or not 0 <= amount < 10**9:
        return None
    return round(amount, 12)


def figures(row: Sequence[Any]) -> dict[str, Any]:
    """The fields of ``Session`` and ``AgentStats``, of the columns of ``SQL``."""
    names = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens", "cost_usd", "unpriced")
    found = dict(zip(names, row, strict=True))
    return {**found, "cost_usd": format(found["cost_usd"].normalize(), "f")}
