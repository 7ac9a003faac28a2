//! The functions that a type change is written with.
//!
//! What is on a column is known best by the database: its comment, grants and statistics, its default and
//! sequence, the exact text of every check and foreign key. So these functions copy it from the database's
//! catalog when they run, in `DO` blocks, which also work in a script of `alembic upgrade --sql`; nothing is
//! spelled out that could be spelled wrongly. Constraints are copied by exchanging the names of the two
//! columns for a moment, so that PostgreSQL's own definition of the original, read before, is the copy's: no
//! expression is taken apart.
//!
//! `CREATE INDEX CONCURRENTLY` can't run in a `DO` block. So the indexes are spelled out in the migration, from
//! what earlier migrations say of them. The first step refuses to begin when the database has others. What
//! becomes of an index when the type changes is PostgreSQL's to say, since an expression or a condition may mean
//! something else then: the first step, each copy and the switch ask it, on an empty table of the new types. Only a
//! script, which can't ask, builds what is spelled out; the switch refuses it when it is something else.
//!
//! All columns of a table that change together are added, filled and exchanged together: every function takes a
//! list of them, and the states of a change (added, exchanged, done) are those of all.
//!
//! Until the old columns are dropped, a return must not lose what was written since. Their values can be computed
//! from the new ones where both are integers: the switch leaves a trigger for each such column, which costs a call of
//! a function per written row until the columns are dropped. What does not fit the old type stays NULL, and no write
//! fails. The procedure backwards (`downgrade`) then finds the old column filled, and only builds indexes. A column of
//! other types is dropped by it, and filled anew: nothing says what the old value of a new one would be but the
//! downgrade itself.

pub(super) const EXECUTE_WITH_RETRIES: &str = r#"def _execute_with_retries(statements, declarations=""):
    """Run SQL in one transaction that gives up its locks and tries again when it can't have all at once."""
    op.execute(
        f"""
        DO $$
        DECLARE
            {declarations}
        BEGIN
            FOR attempt IN 1..30 LOOP
                BEGIN
                    SET LOCAL lock_timeout = '500ms';
                    {statements}
                    EXIT;
                EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
                    IF attempt = 30 THEN
                        RAISE;
                    END IF;
                END;
                COMMIT;
                PERFORM pg_sleep(random());
            END LOOP;
        END
        $$
        """
    )
"#;

pub(super) const NAMES: &str = r#"def _type_change(table_name, column_names, schema=None):
    """The names and the queries that the steps of a type change share."""
    from types import SimpleNamespace

    quote = op.get_context().dialect.identifier_preparer.quote
    prefix = f"{quote(schema)}." if schema else ""
    names = SimpleNamespace(table=f"{prefix}{quote(table_name)}")
    names.subject = ", ".join(f"{table_name}.{name}" for name in column_names)
    names.columns = [
        SimpleNamespace(
            key=name,
            name=quote(name),
            new=quote(f"safemig_new_{name}"),
            old=quote(f"safemig_old_{name}"),
            old_trigger=quote(f"zz_safemig_old_{name}"),
            old_function=f"{prefix}{quote(f'safemig_old_{table_name}_{name}')}",
        )
        for name in column_names
    ]
    # One name for a table's columns that change together; the state of a change is that of all.
    names.trigger = quote(f"zz_safemig_{column_names[0]}")
    names.function = f"{prefix}{quote(f'safemig_{table_name}_{column_names[0]}')}"
    names.id = f"'{names.table}'::regclass"

    def attributes(kind=""):
        listed = ", ".join(f"'{kind}{name}'" for name in column_names)
        return f"a.attrelid = {names.id} AND NOT a.attisdropped AND a.attname IN ({listed})"

    names.attributes = attributes()
    names.has_new = f"EXISTS (SELECT FROM pg_attribute a WHERE {attributes('safemig_new_')})"
    names.numbers = f"(SELECT array_agg(a.attnum) FROM pg_attribute a WHERE {names.attributes})"
    # The indexes that use a column in any way, and the constraints.
    names.indexes = f"""(
        SELECT i.*, x.relname, x.reltablespace FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
        WHERE i.indrelid = {names.id} AND (i.indkey::int2[] && {names.numbers} OR EXISTS (
            SELECT FROM pg_depend d
            WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid
            AND d.refclassid = 'pg_class'::regclass AND d.refobjid = {names.id}
            AND d.refobjsubid IN (SELECT a.attnum FROM pg_attribute a WHERE {names.attributes})
        )))"""
    names.constraints = f"""(
        SELECT k.*, EXISTS (
            SELECT FROM pg_constraint c WHERE c.conrelid = k.conrelid AND c.conname = 'safemig_' || k.oid
        ) AS copied
        FROM pg_constraint k
        WHERE k.contype IN ('p', 'u', 'c', 'f') AND NOT k.conname ~ '^safemig_[0-9]+$' AND (
            k.conrelid = {names.id} AND k.conkey && {names.numbers}
            OR k.confrelid = {names.id} AND k.contype = 'f' AND (k.confkey && {names.numbers}
                OR k.conindid IN (SELECT indexrelid FROM {names.indexes} i))
        ))"""
    # Whoever is on either side of a foreign key is locked, too.
    names.lock = f"""EXECUTE (
        SELECT 'LOCK TABLE ' || string_agg(DISTINCT related::regclass::text, ', ') || ' IN ACCESS EXCLUSIVE MODE'
        FROM (
            SELECT {names.id}::oid UNION SELECT conrelid FROM {names.constraints} k
            UNION SELECT confrelid FROM {names.constraints} k WHERE confrelid <> 0
        ) AS tables (related)
    )"""
    # What becomes of the indexes, on an empty table. PostgreSQL changes a type by the same definitions.
    names.definition = "substr(pg_get_indexdef({0}), strpos(pg_get_indexdef({0}), ' USING '))"
    names.expected = "('pg_temp.safemig_expected_' || i.indexrelid)::regclass"
    rename = "ALTER TABLE safemig_expected RENAME COLUMN"
    dropped = ", ".join(f"DROP COLUMN {column.name}" for column in names.columns)
    there = " ".join(f"{rename} {column.new} TO {column.name};" for column in names.columns)
    back = " ".join(f"{rename} {column.name} TO {column.new};" for column in names.columns)
    names.expect = f"""
        CREATE TEMPORARY TABLE safemig_expected (LIKE {names.table}) ON COMMIT DROP;
        ALTER TABLE safemig_expected {dropped};
        {there}
        FOR command IN
            SELECT CASE WHEN indisunique THEN 'CREATE UNIQUE' ELSE 'CREATE' END || ' INDEX safemig_expected_'
                || indexrelid || ' ON pg_temp.safemig_expected' || {names.definition.format('indexrelid')}
            FROM {names.indexes} i
        LOOP
            EXECUTE command;
        END LOOP;
        {back}"""
    return names
"#;

pub(super) const START: &str = r#"def _start_type_change(table_name, new_types, indexes, using=None, schema=None):
    """Add columns of the new types, and a trigger that fills them, unless something would be lost."""
    names = _type_change(table_name, list(new_types), schema)
    quote = op.get_context().dialect.identifier_preparer.quote
    using = using or {}
    row = f"(SELECT NEW.*) AS {quote(table_name)}"
    wanted = ", ".join(f"{c.name} {new_types[c.key]}" for c in names.columns)
    added = ", ".join(f"ADD COLUMN IF NOT EXISTS {c.new} {new_types[c.key]}" for c in names.columns)
    differs = "(a.atttypid, a.atttypmod, a.attcollation) <> (w.atttypid, w.atttypmod, w.attcollation)"
    is_wanted = "w.attrelid = 'pg_temp.safemig_wanted'::regclass AND w.attnum > 0"
    values = ", ".join(f"{c.new} = {using.get(c.key, c.name)}" for c in names.columns)
    copied = ", ".join(f"'{index}'" for index in indexes)
    assignments, returns = "", ""
    for column in names.columns:
        if column.key in using:
            assignments += f"SELECT {using[column.key]} INTO NEW.{column.new} FROM {row}; "
        else:
            assignments += f"NEW.{column.new} := NEW.{column.name}; "
        returns += f"""
        IF EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = {names.id} AND a.attname = 'safemig_old_{column.key}') THEN
            -- This is a return, before the column that was replaced is dropped.
            IF EXISTS (SELECT FROM pg_trigger WHERE tgrelid = {names.id} AND tgname = 'zz_safemig_old_{column.key}')
                AND (SELECT count(DISTINCT (atttypid, atttypmod, attcollation)) = 1 FROM pg_attribute
                    WHERE attrelid = {names.id} AND attname IN ('safemig_old_{column.key}', 'safemig_new_{column.key}')) THEN
                ALTER TABLE {names.table} DROP COLUMN {column.new};
                ALTER TABLE {names.table} RENAME COLUMN {column.old} TO {column.new};
            ELSE
                -- It does not have what was written since.
                ALTER TABLE {names.table} DROP COLUMN {column.old};
            END IF;
            DROP TRIGGER IF EXISTS {column.old_trigger} ON {names.table};
            DROP FUNCTION IF EXISTS {column.old_function}();
        END IF;"""
    _execute_with_retries(
        f"""
        CREATE TEMPORARY TABLE safemig_wanted ({wanted}) ON COMMIT DROP;
        -- Columns that nothing fills any more, or that belong to a change in the other direction.
        FOR command IN
            WITH added AS (
                SELECT a.attname, 'NEW.' || quote_ident(a.attname) || ' ' AS place, {differs} AS differs
                FROM pg_attribute a JOIN pg_attribute w ON a.attname = 'safemig_new_' || w.attname
                WHERE a.attrelid = {names.id} AND NOT a.attisdropped AND {is_wanted}
            ), fillers AS (
                SELECT p.oid, p.prosrc, t.tgname = 'zz_safemig_{names.columns[0].key}' AS is_ours
                FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
                WHERE t.tgrelid = {names.id} AND t.tgname ~ '^zz_safemig_'
            ), others AS (
                SELECT f.oid, f.prosrc FROM fillers f JOIN added ON strpos(f.prosrc, place) > 0
                WHERE differs OR NOT f.is_ours
            )
            SELECT 'DROP FUNCTION ' || oid::regprocedure || ' CASCADE' FROM others
            UNION SELECT 'ALTER TABLE {names.table} DROP COLUMN ' || quote_ident(a.attname) || ' CASCADE'
            FROM pg_attribute a WHERE a.attrelid = {names.id} AND NOT a.attisdropped AND (EXISTS (
                SELECT FROM others WHERE strpos(prosrc, 'NEW.' || quote_ident(a.attname) || ' ') > 0
                AND a.attname ~ '^safemig_new_'
            ) OR EXISTS (
                SELECT FROM added WHERE attname = a.attname
                AND NOT EXISTS (SELECT FROM fillers WHERE is_ours AND strpos(prosrc, place) > 0)
            ))
            ORDER BY 1 DESC
        LOOP
            EXECUTE command;
        END LOOP;
        IF NOT EXISTS (
            SELECT FROM pg_attribute a JOIN pg_attribute w ON a.attname = w.attname
            WHERE {names.attributes} AND {is_wanted} AND {differs}
        ) THEN
            RETURN; -- An earlier run has switched, or there is nothing to take back.
        END IF;
        ALTER TABLE {names.table} {added};
        SELECT string_agg(found.problem, '; ') INTO problems FROM (
            SELECT 'the table is partitioned, a partition, or of a type' FROM pg_class
            WHERE oid = {names.id} AND (relkind <> 'r' OR relispartition OR reloftype <> 0)
            UNION ALL SELECT 'the table inherits, or is inherited from' FROM pg_inherits
            WHERE {names.id} IN (inhrelid, inhparent)
            UNION ALL SELECT 'row security hides rows from this role' WHERE row_security_active({names.id})
            UNION ALL SELECT 'publication ' || p.pubname || ' replicates the table'
            FROM pg_publication_tables p JOIN pg_class c ON c.oid = {names.id} AND c.relname = p.tablename
            JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = p.schemaname
            UNION ALL SELECT 'rule ' || rulename || ' is on the table' FROM pg_rewrite WHERE ev_class = {names.id}
            UNION ALL SELECT 'trigger ' || tgname || ' would fire for every row, or after the new one'
            FROM pg_trigger
            WHERE tgrelid = {names.id} AND NOT tgisinternal AND tgenabled <> 'D' AND tgname !~ '^zz_safemig_'
            AND (tgtype & 16 <> 0 AND tgattr::text = '' OR tgtype & 3 = 3 AND tgname > 'zz_safemig')
            UNION ALL SELECT pg_describe_object(d.classid, d.objid, d.objsubid) || ' depends on ' || a.attname
            FROM pg_depend d JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
            LEFT JOIN pg_constraint k ON d.classid = 'pg_constraint'::regclass AND k.oid = d.objid
            LEFT JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
            LEFT JOIN pg_attrdef v ON d.classid = 'pg_attrdef'::regclass AND v.oid = d.objid
            WHERE d.refclassid = 'pg_class'::regclass AND {names.attributes}
            AND k.contype IS DISTINCT FROM 'n' AND NOT coalesce(k.contype IN ('p', 'u', 'c', 'f'), false)
            AND NOT coalesce(c.relkind IN ('i', 'S'), false)
            AND NOT coalesce(v.adrelid = a.attrelid AND v.adnum = a.attnum, false)
            UNION ALL SELECT a.attname || ' is generated, compressed, has a security label or unusual grants'
            FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
            WHERE {names.attributes} AND (
                a.attgenerated <> '' OR to_jsonb(a) ->> 'attcompression' <> ''
                OR EXISTS (SELECT FROM pg_seclabel WHERE objoid = a.attrelid AND objsubid = a.attnum)
                OR EXISTS (SELECT FROM aclexplode(a.attacl) WHERE grantor <> c.relowner))
            UNION ALL SELECT 'foreign key ' || conname || ' is of a partitioned table, of one that others own, or not enforced'
            FROM {names.constraints} k JOIN pg_class c ON c.oid = k.conrelid
            WHERE to_jsonb(k) ->> 'conenforced' = 'false' OR k.contype = 'f' AND (
                k.conparentid <> 0 OR c.relkind = 'p' OR NOT pg_has_role(c.relowner, 'USAGE')
                OR NOT has_table_privilege(k.confrelid, 'UPDATE'))
            UNION ALL SELECT 'index ' || relname || ' is a replica identity, or has a tablespace of its own'
            FROM {names.indexes} i WHERE indisreplident OR reltablespace <> 0
            UNION ALL SELECT 'index ' || relname || ' is not copied' FROM {names.indexes} i
            WHERE relname <> ALL (ARRAY[{copied}]::text[])
            UNION ALL SELECT 'index ' || name || ' is not there' FROM unnest(ARRAY[{copied}]::text[]) AS name
            WHERE name NOT IN (SELECT relname FROM {names.indexes} i)
        ) AS found (problem);
        IF problems IS NOT NULL THEN
            RAISE EXCEPTION USING MESSAGE = '{names.subject}: nothing is changed, since ' || problems,
                HINT = 'Change the type as the migration did before it was rewritten, while nobody works.';
        END IF;
        {returns}
        -- What PostgreSQL would refuse at the end, it shall refuse now.
        UPDATE {names.table} SET {values} WHERE false;
        FOR command IN
            SELECT 'ALTER TABLE {names.table} ALTER COLUMN ' || quote_ident('safemig_new_' || a.attname) || step
            FROM pg_attribute a JOIN pg_attrdef ON adrelid = a.attrelid AND adnum = a.attnum,
            unnest(ARRAY[' SET DEFAULT ' || pg_get_expr(adbin, adrelid), ' DROP DEFAULT']) WITH ORDINALITY s (step, place)
            WHERE {names.attributes} ORDER BY a.attnum, place
        LOOP
            EXECUTE command;
        END LOOP;
        {names.expect}
        -- Whoever writes, the value shall be what it would be here.
        CREATE OR REPLACE FUNCTION {names.function}() RETURNS trigger LANGUAGE plpgsql
        SET search_path FROM CURRENT SET TimeZone FROM CURRENT SET DateStyle FROM CURRENT
        SET IntervalStyle FROM CURRENT SET bytea_output FROM CURRENT SET extra_float_digits FROM CURRENT
        AS $fn$
        #variable_conflict use_column
        BEGIN
            {assignments}
            RETURN NEW;
        END
        $fn$;
        DROP TRIGGER IF EXISTS {names.trigger} ON {names.table};
        CREATE TRIGGER {names.trigger} BEFORE INSERT OR UPDATE ON {names.table}
        FOR EACH ROW EXECUTE FUNCTION {names.function}();
        """,
        "problems text; command text;",
    )
"#;

/// The statement that fills one batch, which both ways of walking through a table share.
macro_rules! fill {
    ($function:literal, $parameters:literal, $docstring:literal, $setup:literal, $declarations:literal, $first:literal, $batch:literal, $next:literal) => {
        concat!(
            "def ", $function, "(table_name, column_names, ", $parameters, "using=None, schema=None):\n    \"\"\"",
            $docstring,
            r#""""
    names = _type_change(table_name, column_names, schema)
    using = using or {}
    assignments = ", ".join(f"{column.new} = {using.get(column.key, column.name)}" for column in names.columns)
    pending = " OR ".join(
        f"{column.new} IS NULL" + ("" if column.key in using else f" AND {column.name} IS NOT NULL")
        for column in names.columns
    )
    unused = ", ".join(f"DROP COLUMN {column.new} CASCADE" for column in names.columns)
"#,
            $setup,
            r#"    op.execute("SET statement_timeout = 0")
    op.execute(
        f"""
        DO $$
        DECLARE
            problem text;
            waits integer := 0;
"#,
            $declarations,
            r#"        BEGIN
            IF NOT {names.has_new} THEN
                RETURN;
            END IF;
"#,
            $first,
            r#"                LOOP
                    BEGIN
                        SET LOCAL lock_timeout = '500ms';
                        UPDATE {names.table} SET {assignments}
                        WHERE "#,
            $batch,
            r#"
                        AND ({pending});
                        EXIT;
                    EXCEPTION
                        WHEN lock_not_available OR deadlock_detected THEN
                            waits := waits + 1;
                            IF waits = 1000 THEN
                                RAISE;
                            END IF;
                        WHEN data_exception THEN
                            GET STACKED DIAGNOSTICS problem = MESSAGE_TEXT;
                            EXIT;
                    END;
                    COMMIT;
                    PERFORM pg_sleep(random());
                END LOOP;
                IF problem IS NOT NULL THEN
                    SET LOCAL lock_timeout = '500ms';
                    DROP TRIGGER {names.trigger} ON {names.table};
                    DROP FUNCTION {names.function}();
                    ALTER TABLE {names.table} {unused};
                    COMMIT;
                    RAISE EXCEPTION USING MESSAGE = '{names.subject}: nothing is changed, since ' || problem;
                END IF;
                COMMIT;
"#,
            $next,
            r#"            END LOOP;
        END
        $$
        """
    )
    op.execute("RESET statement_timeout")
"#
        )
    };
}

pub(super) const FILL: &str = fill!(
    "_fill_new_columns",
    "key, ",
    "Fill the new columns in batches of 10000 rows; if a value does not fit, take everything back.",
    r#"    columns = key.split(", ")
    first = ", ".join(f"batch_start.{column}" for column in columns)
    last = ", ".join(f"batch_end.{column}" for column in columns)
    descending = ", ".join(f"{column} DESC" for column in columns)
"#,
    "            batch_start record;\n            batch_end record;\n",
    r#"            SELECT {key} INTO batch_start FROM {names.table} ORDER BY {key} LIMIT 1;
            WHILE FOUND LOOP
                SELECT {key} INTO batch_end FROM (
                    SELECT {key} FROM {names.table} WHERE ({key}) >= ({first}) ORDER BY {key} LIMIT 10000
                ) AS batch ORDER BY {descending} LIMIT 1;
"#,
    "({key}) >= ({first}) AND ({key}) <= ({last})",
    r#"                SELECT {key} INTO batch_start FROM {names.table}
                WHERE ({key}) > ({last}) ORDER BY {key} LIMIT 1;
"#
);

pub(super) const FILL_BY_PLACE: &str = fill!(
    "_fill_new_columns_by_place",
    "",
    "Fill the new columns in batches of 500 pages; if a value does not fit, take everything back.",
    "",
    r#"            batch_page bigint := 0;
            batch_pages bigint := pg_relation_size({names.id}) / current_setting('block_size')::bigint;
"#,
    "            WHILE batch_page < batch_pages LOOP\n",
    "ctid >= ('(' || batch_page || ',0)')::tid AND ctid < ('(' || batch_page + 500 || ',0)')::tid",
    "                batch_page := batch_page + 500;\n"
);

pub(super) const COPY_INDEX: &str = r#"def _copy_index(index_name, table_name, column_names, definition, unique=False, schema=None):
    """Build the copy of an index on the new columns, without stopping writers."""
    names = _type_change(table_name, column_names, schema)
    if not op.get_context().as_sql:
        connection = op.get_bind()
        if not connection.exec_driver_sql(f"SELECT {names.has_new}").scalar():
            return  # An earlier run has switched.
        # What a script can only be told, PostgreSQL can be asked.
        _execute_with_retries(
            f"""
            {names.expect}
            PERFORM set_config('safemig.definition', {names.definition.format(names.expected)}, false)
            FROM {names.indexes} i WHERE relname = '{index_name}';
            """,
            "command text;",
        )
        definition = connection.exec_driver_sql("SELECT current_setting('safemig.definition')").scalar()
        definition = definition.replace(":", "\\:")
    copy = f"safemig_new_{index_name}"[:63]
    _drop_invalid_index(copy, schema)
    copy = op.get_context().dialect.identifier_preparer.quote(copy)
    create = "CREATE UNIQUE INDEX" if unique else "CREATE INDEX"
    op.execute(f"{create} CONCURRENTLY IF NOT EXISTS {copy} ON {names.table} {definition}")
"#;

pub(super) const COPY_CONSTRAINTS: &str = r#"def _copy_constraints(table_name, column_names, schema=None):
    """Copy NOT NULL, checks and foreign keys to the new columns, and validate them without stopping writers."""
    names = _type_change(table_name, column_names, schema)
    rename = f"ALTER TABLE {names.table} RENAME COLUMN"
    there = " ".join(f"{rename} {c.name} TO {c.old}; {rename} {c.new} TO {c.name};" for c in names.columns)
    back = " ".join(f"{rename} {c.name} TO {c.new}; {rename} {c.old} TO {c.name};" for c in names.columns)
    _execute_with_retries(
        f"""
        IF NOT {names.has_new} THEN
            RETURN;
        END IF;
        {names.lock};
        commands := ARRAY(
            SELECT 'ALTER TABLE ' || conrelid::regclass || ' ADD CONSTRAINT safemig_' || oid || ' '
                || regexp_replace(pg_get_constraintdef(oid), ' NOT VALID$', '') || ' NOT VALID'
            FROM {names.constraints} k WHERE contype IN ('c', 'f') AND NOT copied
            UNION ALL SELECT 'ALTER TABLE {names.table} ADD CONSTRAINT ' || quote_ident('safemig_nn_' || a.attname)
                || ' CHECK (' || quote_ident(a.attname) || ' IS NOT NULL) NOT VALID'
            FROM pg_attribute a WHERE {names.attributes} AND a.attnotnull AND NOT EXISTS (
                SELECT FROM pg_constraint WHERE conrelid = a.attrelid AND conname = 'safemig_nn_' || a.attname)
        );
        -- PostgreSQL's own definitions, of the columns that have the names.
        {there}
        FOREACH command IN ARRAY commands LOOP
            EXECUTE command;
        END LOOP;
        {back}
        """,
        "commands text[]; command text;",
    )
    op.execute("SET statement_timeout = 0")
    op.execute(
        f"""
        DO $$
        DECLARE
            command text;
        BEGIN
            FOR command IN
                SELECT 'ALTER TABLE ' || c.conrelid::regclass || ' VALIDATE CONSTRAINT ' || quote_ident(c.conname)
                FROM pg_constraint c WHERE NOT c.convalidated AND (
                    c.conrelid = {names.id} AND c.conname IN (
                        SELECT 'safemig_nn_' || a.attname FROM pg_attribute a WHERE {names.attributes}
                    ) OR (c.conrelid, c.conname::text) IN (
                        SELECT conrelid, 'safemig_' || oid FROM {names.constraints} k WHERE convalidated
                    )
                ) ORDER BY 1
            LOOP
                EXECUTE command;
                COMMIT;
            END LOOP;
        END
        $$
        """
    )
    op.execute("RESET statement_timeout")
"#;

pub(super) const SWITCH: &str = r#"def _switch_columns(table_name, column_names, two_way=(), schema=None):
    """Give the new columns the old ones' names and all that is on them, in one short transaction."""
    names = _type_change(table_name, column_names, schema)
    alter = f"'ALTER TABLE {names.table} ALTER COLUMN ' ||"
    constraint = "' || conrelid::regclass || '"
    index_of_constraint = "SELECT conindid FROM pg_constraint WHERE contype IN ('p', 'u')"
    copy = "quote_ident(('safemig_new_' || relname)::name)"
    role = "CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END"
    grantee = f"{role} || CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END"
    # Who returns loses nothing; what does not fit stays NULL, and tells him so.
    kept = "".join(
        f"""
        CREATE FUNCTION {column.old_function}() RETURNS trigger LANGUAGE plpgsql AS $fn$
        BEGIN
            NEW.{column.old} := NEW.{column.name};
            RETURN NEW;
        EXCEPTION WHEN data_exception THEN
            NEW.{column.old} := NULL;
            RETURN NEW;
        END
        $fn$;
        CREATE TRIGGER {column.old_trigger} BEFORE INSERT OR UPDATE ON {names.table}
        FOR EACH ROW EXECUTE FUNCTION {column.old_function}();"""
        for column in names.columns
        if column.key in two_way
    )
    _execute_with_retries(
        f"""
        IF NOT {names.has_new} THEN
            RETURN;
        END IF;
        {names.lock};

        -- The copies have to be what PostgreSQL makes of the originals, for the new types.
        {names.expect}
        SELECT string_agg(i.relname, ', ') INTO problems FROM {names.indexes} i
        LEFT JOIN pg_class x ON x.relname = ('safemig_new_' || i.relname)::name
            AND x.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = {names.id})
        LEFT JOIN pg_index c ON c.indexrelid = x.oid AND c.indrelid = {names.id} AND c.indisvalid
        WHERE (c.indisunique, {names.definition.format('c.indexrelid')})
            IS DISTINCT FROM (i.indisunique, {names.definition.format(names.expected)});
        IF problems IS NOT NULL THEN
            RAISE EXCEPTION USING MESSAGE = 'the copies of these indexes are not like them: ' || problems;
        END IF;
        DROP TABLE safemig_expected;
        SELECT string_agg(DISTINCT conname, ', ') INTO problems FROM {names.constraints} k
        LEFT JOIN (SELECT conrelid, conname AS copy, convalidated AS valid FROM pg_constraint) c USING (conrelid)
        WHERE contype IN ('c', 'f') AND copy = 'safemig_' || oid AND valid <> convalidated
        OR contype IN ('c', 'f') AND NOT copied;
        IF problems IS NOT NULL THEN
            RAISE EXCEPTION USING MESSAGE = 'these constraints have no valid copies: ' || problems;
        END IF;

        -- What is on the old columns, as commands for the new ones. Those before 50 run before the names change.
        WITH columns AS (
            SELECT a.attrelid, a.attnum, a.attname, a.attnotnull, a.attidentity, a.attacl, a.attstattarget, a.attoptions,
                quote_ident(a.attname) AS name, quote_ident('safemig_old_' || a.attname) AS old,
                quote_ident('safemig_new_' || a.attname) AS new, a.atttypid AS old_type, n.atttypid AS new_type,
                CASE WHEN a.attidentity <> '' THEN pg_get_serial_sequence('{names.table}', a.attname) END AS numbering
            FROM pg_attribute a JOIN pg_attribute n ON n.attrelid = a.attrelid AND n.attname = 'safemig_new_' || a.attname
            WHERE {names.attributes}
        ), commands (place, command) AS (
            SELECT CASE contype WHEN 'f' THEN 10 ELSE 11 END,
                'ALTER TABLE {constraint} DROP CONSTRAINT ' || quote_ident(conname)
            FROM {names.constraints} k
            UNION ALL SELECT 12, 'DROP INDEX ' || indexrelid::regclass
            FROM {names.indexes} i WHERE indexrelid NOT IN ({index_of_constraint})
            UNION ALL SELECT 13, 'DROP TRIGGER {names.trigger} ON {names.table}'
            UNION ALL SELECT 14, 'DROP FUNCTION {names.function}()'
            UNION ALL SELECT 15, {alter} name || ' DROP IDENTITY' FROM columns WHERE attidentity <> ''
            UNION ALL SELECT 16, {alter} name || ' DROP NOT NULL' FROM columns WHERE attnotnull
            UNION ALL SELECT 50, 'ALTER TABLE {names.table} RENAME COLUMN ' || name || ' TO ' || old FROM columns
            UNION ALL SELECT 51, 'ALTER TABLE {names.table} RENAME COLUMN ' || new || ' TO ' || name FROM columns
            UNION ALL SELECT 60, {alter} name || ' SET NOT NULL' FROM columns WHERE attnotnull
            UNION ALL SELECT 61, 'ALTER TABLE {names.table} DROP CONSTRAINT ' || quote_ident(conname)
            FROM pg_constraint JOIN columns ON conrelid = attrelid AND conname = 'safemig_nn_' || attname
            UNION ALL SELECT 62, {alter} old || ' DROP DEFAULT, ALTER COLUMN ' || name || ' SET DEFAULT '
                || pg_get_expr(adbin, adrelid)
            FROM pg_attrdef JOIN columns ON adrelid = attrelid AND adnum = attnum
            UNION ALL SELECT 63, 'ALTER SEQUENCE ' || s.objid::regclass || ' OWNED BY {names.table}.' || name
                || CASE WHEN q.seqtypid = old_type AND greatest(
                        pg_sequence_last_value(q.seqrelid), q.seqstart,
                        CASE WHEN q.seqmax NOT IN (32767, 2147483647, 9223372036854775807) THEN q.seqmax END
                    ) <= CASE new_type WHEN 21 THEN 32767 WHEN 23 THEN 2147483647 WHEN 20 THEN 9223372036854775807 END
                    THEN ' AS ' || format_type(new_type, NULL) ELSE '' END
            FROM pg_depend s JOIN pg_sequence q ON q.seqrelid = s.objid
            JOIN columns ON attrelid = s.refobjid AND attnum = s.refobjsubid
            WHERE s.classid = 'pg_class'::regclass AND s.refclassid = 'pg_class'::regclass AND s.deptype = 'a'
            UNION ALL SELECT 64, {alter} name || ' ADD GENERATED '
                || CASE attidentity WHEN 'a' THEN 'ALWAYS' ELSE 'BY DEFAULT' END
                || ' AS IDENTITY (SEQUENCE NAME ' || numbering || ' START ' || seqstart || ' INCREMENT ' || seqincrement
                || CASE WHEN seqmin IN (1, -32768, -2147483648, -9223372036854775808)
                    THEN '' ELSE ' MINVALUE ' || seqmin END
                || CASE WHEN seqmax IN (-1, 32767, 2147483647, 9223372036854775807)
                    THEN '' ELSE ' MAXVALUE ' || seqmax END
                || ' CACHE ' || seqcache || CASE WHEN seqcycle THEN ' CYCLE)' ELSE ')' END
            FROM columns JOIN pg_sequence ON seqrelid = numbering::regclass
            UNION ALL SELECT 65, 'GRANT ' || privilege_type || ' ON SEQUENCE ' || numbering || ' TO ' || {grantee}
            FROM columns JOIN pg_class ON oid = numbering::regclass, aclexplode(relacl) WHERE grantee <> relowner
            UNION ALL SELECT 66, 'COMMENT ON SEQUENCE ' || numbering || ' IS '
                || quote_literal(obj_description(numbering::regclass, 'pg_class'))
            FROM columns
            UNION ALL SELECT 70, 'ALTER TABLE {names.table} ADD CONSTRAINT ' || quote_ident(conname)
                || CASE contype WHEN 'p' THEN ' PRIMARY KEY' ELSE ' UNIQUE' END || ' USING INDEX ' || {copy}
                || CASE WHEN condeferrable THEN ' DEFERRABLE' ELSE '' END
                || CASE WHEN condeferred THEN ' INITIALLY DEFERRED' ELSE '' END
            FROM {names.constraints} k JOIN pg_class x ON x.oid = k.conindid WHERE contype IN ('p', 'u')
            UNION ALL SELECT 71, 'ALTER INDEX ' || quote_ident(nspname) || '.' || {copy}
                || ' RENAME TO ' || quote_ident(relname)
            FROM {names.indexes} i, pg_namespace n
            WHERE n.oid = (SELECT relnamespace FROM pg_class WHERE oid = {names.id})
            AND indexrelid NOT IN ({index_of_constraint})
            UNION ALL SELECT 72, 'ALTER TABLE ' || quote_ident(nspname) || '.' || quote_ident(i.relname)
                || ' RENAME COLUMN ' || quote_ident(x.attname) || ' TO ' || quote_ident(substr(x.attname, 13))
            FROM {names.indexes} i JOIN pg_class c ON c.relname = ('safemig_new_' || i.relname)::name
            JOIN pg_namespace n ON n.oid = c.relnamespace
            JOIN pg_attribute x ON x.attrelid = c.oid AND x.attname ~ '^safemig_new_'
            WHERE n.oid = (SELECT relnamespace FROM pg_class WHERE oid = {names.id})
            UNION ALL SELECT 73, 'ALTER TABLE {constraint} RENAME CONSTRAINT safemig_' || oid
                || ' TO ' || quote_ident(conname)
            FROM {names.constraints} k WHERE contype IN ('c', 'f')
            UNION ALL SELECT 80, 'COMMENT ON COLUMN {names.table}.' || name || ' IS '
                || quote_literal(col_description(attrelid, attnum))
            FROM columns
            UNION ALL SELECT 81, 'COMMENT ON INDEX ' || indexrelid::regclass || ' IS '
                || quote_literal(obj_description(indexrelid, 'pg_class'))
            FROM {names.indexes} i
            UNION ALL SELECT 82, 'COMMENT ON CONSTRAINT ' || quote_ident(conname) || ' ON {constraint} IS '
                || quote_literal(obj_description(oid, 'pg_constraint'))
            FROM {names.constraints} k
            UNION ALL SELECT 83, 'GRANT ' || privilege_type || ' (' || name || ') ON {names.table} TO ' || {grantee}
            FROM columns, aclexplode(attacl)
            UNION ALL SELECT 84, {alter} name || ' SET STATISTICS ' || attstattarget FROM columns WHERE attstattarget >= 0
            UNION ALL SELECT 85, {alter} name || ' SET (' || array_to_string(attoptions, ', ') || ')' FROM columns
            UNION ALL SELECT 86, 'ALTER TABLE {names.table} CLUSTER ON ' || quote_ident(relname)
            FROM {names.indexes} i WHERE indisclustered
            -- The old columns keep their values, and nothing else.
            UNION ALL SELECT 90, 'COMMENT ON COLUMN {names.table}.' || old || ' IS NULL'
            FROM columns WHERE col_description(attrelid, attnum) IS NOT NULL
            UNION ALL SELECT 91, 'REVOKE ' || privilege_type || ' (' || old || ') ON {names.table} FROM ' || {role}
            FROM columns, aclexplode(attacl)
            UNION ALL SELECT 92, {alter} old || ' SET STATISTICS -1' FROM columns WHERE attstattarget >= 0
            UNION ALL SELECT 93, {alter} old || ' RESET (' || (
                SELECT string_agg(split_part(option, '=', 1), ', ') FROM unnest(attoptions) AS option) || ')'
            FROM columns
        )
        SELECT array_agg(c.command ORDER BY place, c.command) INTO commands FROM commands c
        WHERE c.command IS NOT NULL;
        -- What has to be known before, and is done behind.
        FOR counter IN
            SELECT pg_get_serial_sequence('{names.table}', a.attname) FROM pg_attribute a
            WHERE {names.attributes} AND a.attidentity <> ''
        LOOP
            EXECUTE 'SELECT last_value, is_called FROM ' || counter INTO counted, called;
            commands := commands
                || ('SELECT setval(' || quote_literal(counter) || ', ' || counted || ', ' || called || ')');
        END LOOP;
        SELECT jsonb_object_agg(a.attname, k.conname) INTO not_null FROM pg_attribute a
        JOIN pg_constraint k ON k.conrelid = a.attrelid AND k.contype = 'n' AND k.conkey = ARRAY[a.attnum]
        WHERE {names.attributes};
        FOREACH command IN ARRAY commands LOOP
            EXECUTE command;
        END LOOP;
        FOR command IN
            SELECT 'ALTER TABLE {names.table} RENAME CONSTRAINT ' || quote_ident(k.conname) || ' TO '
                || quote_ident(not_null ->> a.attname::text)
            FROM pg_attribute a
            JOIN pg_constraint k ON k.conrelid = a.attrelid AND k.contype = 'n' AND k.conkey = ARRAY[a.attnum]
            WHERE {names.attributes} AND k.conname <> not_null ->> a.attname::text
        LOOP
            EXECUTE command;
        END LOOP;
        {kept}
        """,
        "problems text; commands text[]; command text; counter text; counted bigint; called boolean; not_null jsonb;",
    )
"#;

pub(super) const DROP_OLD: &str = r#"def _drop_old_columns(table_name, column_names, schema=None):
    """Drop the columns that were replaced, or the new ones of a change that is given up."""
    names = _type_change(table_name, column_names, schema)
    triggers = f"DROP TRIGGER IF EXISTS {names.trigger} ON {names.table}; DROP FUNCTION IF EXISTS {names.function}();"
    for column in names.columns:
        triggers += f" DROP TRIGGER IF EXISTS {column.old_trigger} ON {names.table};"
        triggers += f" DROP FUNCTION IF EXISTS {column.old_function}();"
    dropped = ", ".join(
        f"DROP COLUMN IF EXISTS {column.old}, DROP COLUMN IF EXISTS {column.new} CASCADE" for column in names.columns
    )
    _execute_with_retries(f"{triggers} ALTER TABLE {names.table} {dropped};")
"#;
