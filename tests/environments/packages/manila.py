"""Manila's revisions use helpers of theirs, and its constants."""

STUB = ("manila",)
REAL = ("manila.db.migrations.utils", "manila.common.constants")
