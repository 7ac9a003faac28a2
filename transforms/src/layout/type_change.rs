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
//! what earlier migrations say of them. The first step refuses to begin when the database has others, and the
//! last makes the database say what each copy has to be, on an empty table, before it takes the original's place.

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

pub(super) const NAMES: &str = r#"def _type_change(table_name, column_name, schema=None):
    """The names and the queries that the steps of a type change share."""
    from types import SimpleNamespace

    quote = op.get_context().dialect.identifier_preparer.quote
    prefix = f"{quote(schema)}." if schema else ""
    names = SimpleNamespace(table=f"{prefix}{quote(table_name)}", column=quote(column_name))
    names.new, names.old = quote(f"safemig_new_{column_name}"), quote(f"safemig_old_{column_name}")
    names.trigger = quote(f"zz_safemig_{column_name}")
    names.function = f"{prefix}{quote(f'safemig_{table_name}_{column_name}')}"
    names.id = f"'{names.table}'::regclass"
    column = f"FROM pg_attribute WHERE attrelid = {names.id} AND NOT attisdropped AND attname ="
    names.has_new = f"EXISTS (SELECT {column} 'safemig_new_{column_name}')"
    names.has_old = f"EXISTS (SELECT {column} 'safemig_old_{column_name}')"
    names.number = f"(SELECT attnum {column} '{column_name}')"
    # The indexes that use the column in any way, and the constraints.
    names.indexes = f"""(
        SELECT i.*, x.relname, x.reltablespace FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
        WHERE i.indrelid = {names.id} AND ({names.number} = ANY (i.indkey) OR EXISTS (
            SELECT FROM pg_depend d
            WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid
            AND d.refclassid = 'pg_class'::regclass AND d.refobjid = {names.id}
            AND d.refobjsubid = {names.number}
        )))"""
    names.constraints = f"""(
        SELECT k.*, EXISTS (
            SELECT FROM pg_constraint c WHERE c.conrelid = k.conrelid AND c.conname = 'safemig_' || k.oid
        ) AS copied
        FROM pg_constraint k
        WHERE k.contype IN ('p', 'u', 'c', 'f') AND NOT k.conname ~ '^safemig_[0-9]+$' AND (
            k.conrelid = {names.id} AND {names.number} = ANY (k.conkey)
            OR k.confrelid = {names.id} AND k.contype = 'f' AND ({names.number} = ANY (k.confkey)
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
    return names
"#;

pub(super) const START: &str = r#"def _start_type_change(table_name, column_name, new_type, indexes, using=None, schema=None):
    """Add a column of the new type, and a trigger that fills it, unless something would be lost."""
    names = _type_change(table_name, column_name, schema)
    quote = op.get_context().dialect.identifier_preparer.quote
    copied = ", ".join(f"'{index}'" for index in indexes)
    assignment = f"NEW.{names.new} := NEW.{names.column}"
    if using:
        assignment = f"SELECT {using} INTO NEW.{names.new} FROM (SELECT NEW.*) AS {quote(table_name)}"
    _execute_with_retries(
        f"""
        IF {names.has_old} THEN
            RETURN; -- An earlier run has switched.
        END IF;
        ALTER TABLE {names.table} ADD COLUMN IF NOT EXISTS {names.new} {new_type};
        IF (SELECT count(DISTINCT (atttypid, atttypmod, attcollation)) = 1 FROM pg_attribute
            WHERE attrelid = {names.id} AND attname IN ('{column_name}', 'safemig_new_{column_name}')) THEN
            ALTER TABLE {names.table} DROP COLUMN {names.new};
            RETURN; -- An earlier run has done it all.
        END IF;
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
            UNION ALL SELECT pg_describe_object(d.classid, d.objid, d.objsubid) || ' depends on the column'
            FROM pg_depend d
            LEFT JOIN pg_constraint k ON d.classid = 'pg_constraint'::regclass AND k.oid = d.objid
            LEFT JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
            LEFT JOIN pg_attrdef v ON d.classid = 'pg_attrdef'::regclass AND v.oid = d.objid
            WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = {names.id}
            AND d.refobjsubid = {names.number} AND k.contype IS DISTINCT FROM 'n'
            AND NOT coalesce(k.contype IN ('p', 'u', 'c', 'f'), false)
            AND NOT coalesce(c.relkind IN ('i', 'S'), false)
            AND NOT coalesce(v.adrelid = {names.id} AND v.adnum = {names.number}, false)
            UNION ALL SELECT 'the column is generated, compressed, has a security label or unusual grants'
            FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
            WHERE a.attrelid = {names.id} AND a.attnum = {names.number} AND (
                a.attgenerated <> '' OR to_jsonb(a) ->> 'attcompression' <> ''
                OR EXISTS (SELECT FROM pg_seclabel WHERE objoid = a.attrelid AND objsubid = a.attnum)
                OR EXISTS (SELECT FROM aclexplode(a.attacl) WHERE grantor <> c.relowner))
            UNION ALL SELECT 'foreign key ' || conname || ' is of a partitioned table, of one that others own, or not enforced'
            FROM {names.constraints} k JOIN pg_class c ON c.oid = k.conrelid
            WHERE to_jsonb(k) ->> 'conenforced' = 'false' OR k.contype = 'f' AND (
                k.conparentid <> 0 OR c.relkind = 'p' OR NOT pg_has_role(c.relowner, 'USAGE')
                OR NOT has_table_privilege(k.confrelid, 'UPDATE'))
            UNION ALL SELECT 'this role may not create temporary tables'
            WHERE NOT has_database_privilege(current_database(), 'TEMPORARY')
            UNION ALL SELECT 'index ' || relname || ' is a replica identity, or has a tablespace of its own'
            FROM {names.indexes} i WHERE indisreplident OR reltablespace <> 0
            UNION ALL SELECT 'index ' || relname || ' is not copied' FROM {names.indexes} i
            WHERE relname <> ALL (ARRAY[{copied}]::text[])
            UNION ALL SELECT 'index ' || name || ' is not there' FROM unnest(ARRAY[{copied}]::text[]) AS name
            WHERE name NOT IN (SELECT relname FROM {names.indexes} i)
        ) AS found (problem);
        IF problems IS NOT NULL THEN
            RAISE EXCEPTION USING MESSAGE = '{table_name}.{column_name} is left as it is: ' || problems,
                HINT = 'Change the type as the migration did before it was rewritten, while nobody works.';
        END IF;
        -- What PostgreSQL would refuse at the end, it shall refuse now.
        UPDATE {names.table} SET {names.new} = {using or names.column} WHERE false;
        FOR command IN
            SELECT 'ALTER TABLE {names.table} ALTER COLUMN {names.new} SET DEFAULT ' || pg_get_expr(adbin, adrelid)
            FROM pg_attrdef WHERE adrelid = {names.id} AND adnum = {names.number}
        LOOP
            EXECUTE command;
            ALTER TABLE {names.table} ALTER COLUMN {names.new} DROP DEFAULT;
        END LOOP;
        -- Whoever writes, the value shall be what it would be here.
        CREATE OR REPLACE FUNCTION {names.function}() RETURNS trigger LANGUAGE plpgsql
        SET search_path FROM CURRENT SET TimeZone FROM CURRENT SET DateStyle FROM CURRENT
        SET IntervalStyle FROM CURRENT SET bytea_output FROM CURRENT SET extra_float_digits FROM CURRENT
        AS $fn$
        #variable_conflict use_column
        BEGIN
            {assignment};
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
            "def ", $function, "(table_name, column_name, ", $parameters, "using=None, schema=None):\n    \"\"\"",
            $docstring,
            "\"\"\"\n    names = _type_change(table_name, column_name, schema)\n",
            "    pending = f\"{names.new} IS NULL\" + (\"\" if using else f\" AND {names.column} IS NOT NULL\")\n",
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
                        UPDATE {names.table} SET {names.new} = {using or names.column}
                        WHERE "#,
            $batch,
            r#"
                        AND {pending};
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
                    ALTER TABLE {names.table} DROP COLUMN {names.new} CASCADE;
                    COMMIT;
                    RAISE EXCEPTION USING MESSAGE = '{table_name}.{column_name} is left as it is: ' || problem;
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
    "_fill_new_column",
    "key, ",
    "Fill the new column in batches of 10000 rows; if a value does not fit, take everything back.",
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
    "_fill_new_column_by_place",
    "",
    "Fill the new column in batches of 500 pages; if a value does not fit, take everything back.",
    "",
    r#"            batch_page bigint := 0;
            batch_pages bigint := pg_relation_size({names.id}) / current_setting('block_size')::bigint;
"#,
    "            WHILE batch_page < batch_pages LOOP\n",
    "ctid >= ('(' || batch_page || ',0)')::tid AND ctid < ('(' || batch_page + 500 || ',0)')::tid",
    "                batch_page := batch_page + 500;\n"
);

pub(super) const COPY_INDEX: &str = r#"def _copy_index(index_name, table_name, column_name, definition, unique=False, schema=None):
    """Build the copy of an index on the new column, without stopping writers."""
    names = _type_change(table_name, column_name, schema)
    if not op.get_context().as_sql and not op.get_bind().exec_driver_sql(f"SELECT {names.has_new}").scalar():
        return  # An earlier run has switched.
    copy = f"safemig_new_{index_name}"[:63]
    _drop_invalid_index(copy, schema)
    copy = op.get_context().dialect.identifier_preparer.quote(copy)
    create = "CREATE UNIQUE INDEX" if unique else "CREATE INDEX"
    op.execute(f"{create} CONCURRENTLY IF NOT EXISTS {copy} ON {names.table} {definition}")
"#;

pub(super) const COPY_CONSTRAINTS: &str = r#"def _copy_constraints(table_name, column_name, schema=None):
    """Copy NOT NULL, checks and foreign keys to the new column, and validate them without stopping writers."""
    names = _type_change(table_name, column_name, schema)
    not_null = f"safemig_nn CHECK ({names.new} IS NOT NULL)"
    _execute_with_retries(
        f"""
        IF NOT {names.has_new} THEN
            RETURN;
        END IF;
        {names.lock};
        IF (SELECT attnotnull FROM pg_attribute WHERE attrelid = {names.id} AND attnum = {names.number})
            AND NOT EXISTS (SELECT FROM pg_constraint WHERE conrelid = {names.id} AND conname = 'safemig_nn') THEN
            ALTER TABLE {names.table} ADD CONSTRAINT {not_null} NOT VALID;
        END IF;
        commands := ARRAY(
            SELECT 'ALTER TABLE ' || conrelid::regclass || ' ADD CONSTRAINT safemig_' || oid || ' '
                || regexp_replace(pg_get_constraintdef(oid), ' NOT VALID$', '') || ' NOT VALID'
            FROM {names.constraints} k WHERE contype IN ('c', 'f') AND NOT copied
        );
        -- PostgreSQL's own definitions, of the column that has the name.
        ALTER TABLE {names.table} RENAME COLUMN {names.column} TO {names.old};
        ALTER TABLE {names.table} RENAME COLUMN {names.new} TO {names.column};
        FOREACH command IN ARRAY commands LOOP
            EXECUTE command;
        END LOOP;
        ALTER TABLE {names.table} RENAME COLUMN {names.column} TO {names.new};
        ALTER TABLE {names.table} RENAME COLUMN {names.old} TO {names.column};
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
                    c.conrelid = {names.id} AND c.conname = 'safemig_nn' OR (c.conrelid, c.conname::text) IN (
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

pub(super) const SWITCH: &str = r#"def _switch_columns(table_name, column_name, schema=None):
    """Give the new column the old one's name and all that is on it, in one short transaction."""
    names = _type_change(table_name, column_name, schema)
    of_column = f"a.attrelid = {names.id} AND a.attnum = {names.number}"
    alter = f"'ALTER TABLE {names.table} ALTER COLUMN "
    constraint = "' || conrelid::regclass || '"
    index_of_constraint = "SELECT conindid FROM pg_constraint WHERE contype IN ('p', 'u')"
    copy = "quote_ident(('safemig_new_' || relname)::name)"
    definition = "substr(pg_get_indexdef({0}), strpos(pg_get_indexdef({0}), ' USING '))"
    _execute_with_retries(
        f"""
        IF NOT {names.has_new} THEN
            RETURN;
        END IF;
        {names.lock};

        -- The copies have to be what PostgreSQL makes of the originals, for the new type.
        CREATE TEMPORARY TABLE safemig_expected (LIKE {names.table}) ON COMMIT DROP;
        ALTER TABLE safemig_expected DROP COLUMN {names.column};
        ALTER TABLE safemig_expected RENAME COLUMN {names.new} TO {names.column};
        FOR command IN
            SELECT CASE WHEN indisunique THEN 'CREATE UNIQUE' ELSE 'CREATE' END || ' INDEX safemig_expected_'
                || indexrelid || ' ON pg_temp.safemig_expected' || {definition.format('indexrelid')}
            FROM {names.indexes} i
        LOOP
            EXECUTE command;
        END LOOP;
        ALTER TABLE safemig_expected RENAME COLUMN {names.column} TO {names.new};
        SELECT string_agg(i.relname, ', ') INTO problems FROM {names.indexes} i
        LEFT JOIN pg_class x ON x.relname = ('safemig_new_' || i.relname)::name
            AND x.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = {names.id})
        LEFT JOIN pg_index c ON c.indexrelid = x.oid AND c.indrelid = {names.id} AND c.indisvalid
        WHERE (c.indisunique, {definition.format('c.indexrelid')}) IS DISTINCT FROM (i.indisunique,
            {definition.format("('pg_temp.safemig_expected_' || i.indexrelid)::regclass")});
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

        -- What is on the old column, as commands for the new one. Those before 50 run before the names change.
        SELECT pg_get_serial_sequence('{names.table}', '{column_name}') INTO counter
        FROM pg_attribute a WHERE {of_column} AND a.attidentity <> '';
        IF counter IS NOT NULL THEN
            EXECUTE 'SELECT last_value, is_called FROM ' || counter INTO counted, called;
        END IF;
        SELECT conname INTO not_null FROM pg_constraint
        WHERE conrelid = {names.id} AND contype = 'n' AND conkey = ARRAY[{names.number}];
        WITH commands (place, command) AS (
            SELECT CASE contype WHEN 'f' THEN 10 ELSE 11 END,
                'ALTER TABLE {constraint} DROP CONSTRAINT ' || quote_ident(conname)
            FROM {names.constraints} k
            UNION ALL SELECT 12, 'DROP INDEX ' || indexrelid::regclass
            FROM {names.indexes} i WHERE indexrelid NOT IN ({index_of_constraint})
            UNION ALL SELECT 13, 'DROP TRIGGER {names.trigger} ON {names.table}'
            UNION ALL SELECT 14, 'DROP FUNCTION {names.function}()'
            UNION ALL SELECT 15, {alter}{names.column} DROP IDENTITY' FROM pg_attribute a WHERE {of_column} AND a.attidentity <> ''
            UNION ALL SELECT 16, {alter}{names.column} DROP NOT NULL' FROM pg_attribute a WHERE {of_column} AND a.attnotnull
            UNION ALL SELECT 50, 'ALTER TABLE {names.table} RENAME COLUMN {names.column} TO {names.old}'
            UNION ALL SELECT 51, 'ALTER TABLE {names.table} RENAME COLUMN {names.new} TO {names.column}'
            UNION ALL SELECT 60, {alter}{names.column} SET NOT NULL' FROM pg_attribute a WHERE {of_column} AND a.attnotnull
            UNION ALL SELECT 61, 'ALTER TABLE {names.table} DROP CONSTRAINT safemig_nn'
            FROM pg_constraint WHERE conrelid = {names.id} AND conname = 'safemig_nn'
            UNION ALL SELECT 62, {alter}{names.old} DROP DEFAULT, ALTER COLUMN {names.column} SET DEFAULT '
                || pg_get_expr(adbin, adrelid)
            FROM pg_attrdef WHERE adrelid = {names.id} AND adnum = {names.number}
            UNION ALL SELECT 63, 'ALTER SEQUENCE ' || s.objid::regclass || ' OWNED BY {names.table}.{names.column}'
                || CASE WHEN q.seqtypid = a.atttypid AND greatest(
                        pg_sequence_last_value(q.seqrelid), q.seqstart,
                        CASE WHEN q.seqmax NOT IN (32767, 2147483647, 9223372036854775807) THEN q.seqmax END
                    ) <= CASE n.atttypid WHEN 21 THEN 32767 WHEN 23 THEN 2147483647 WHEN 20 THEN 9223372036854775807 END
                    THEN ' AS ' || format_type(n.atttypid, NULL) ELSE '' END
            FROM pg_depend s JOIN pg_sequence q ON q.seqrelid = s.objid
            JOIN pg_attribute a ON a.attrelid = s.refobjid AND a.attnum = s.refobjsubid
            JOIN pg_attribute n ON n.attrelid = s.refobjid AND n.attname = 'safemig_new_{column_name}'
            WHERE s.classid = 'pg_class'::regclass AND s.refclassid = 'pg_class'::regclass AND s.deptype = 'a'
            AND s.refobjid = {names.id} AND s.refobjsubid = {names.number}
            UNION ALL SELECT 64, {alter}{names.column} ADD GENERATED '
                || CASE a.attidentity WHEN 'a' THEN 'ALWAYS' ELSE 'BY DEFAULT' END
                || ' AS IDENTITY (SEQUENCE NAME ' || counter || ' START ' || seqstart || ' INCREMENT ' || seqincrement
                || CASE WHEN seqmin IN (1, -32768, -2147483648, -9223372036854775808)
                    THEN '' ELSE ' MINVALUE ' || seqmin END
                || CASE WHEN seqmax IN (-1, 32767, 2147483647, 9223372036854775807)
                    THEN '' ELSE ' MAXVALUE ' || seqmax END
                || ' CACHE ' || seqcache || CASE WHEN seqcycle THEN ' CYCLE)' ELSE ')' END
            FROM pg_attribute a JOIN pg_sequence ON seqrelid = counter::regclass WHERE {of_column}
            UNION ALL SELECT 65, 'GRANT ' || privilege_type || ' ON SEQUENCE ' || counter || ' TO '
                || CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END
                || CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END
            FROM pg_class, aclexplode(relacl) WHERE oid = counter::regclass AND grantee <> relowner
            UNION ALL SELECT 66, 'COMMENT ON SEQUENCE ' || counter || ' IS '
                || quote_literal(obj_description(counter::regclass, 'pg_class'))
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
            UNION ALL SELECT 72, 'ALTER TABLE {constraint} RENAME CONSTRAINT safemig_' || oid
                || ' TO ' || quote_ident(conname)
            FROM {names.constraints} k WHERE contype IN ('c', 'f')
            UNION ALL SELECT 80, 'COMMENT ON COLUMN {names.table}.{names.column} IS '
                || quote_literal(col_description({names.id}, {names.number}))
            UNION ALL SELECT 81, 'COMMENT ON INDEX ' || indexrelid::regclass || ' IS '
                || quote_literal(obj_description(indexrelid, 'pg_class'))
            FROM {names.indexes} i
            UNION ALL SELECT 82, 'COMMENT ON CONSTRAINT ' || quote_ident(conname) || ' ON {constraint} IS '
                || quote_literal(obj_description(oid, 'pg_constraint'))
            FROM {names.constraints} k
            UNION ALL SELECT 83, 'GRANT ' || privilege_type || ' ({names.column}) ON {names.table} TO '
                || CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END
                || CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END
            FROM pg_attribute a, aclexplode(a.attacl) WHERE {of_column}
            UNION ALL SELECT 84, {alter}{names.column} SET STATISTICS ' || attstattarget
            FROM pg_attribute a WHERE {of_column} AND a.attstattarget >= 0
            UNION ALL SELECT 85, {alter}{names.column} SET (' || array_to_string(attoptions, ', ') || ')'
            FROM pg_attribute a WHERE {of_column}
            UNION ALL SELECT 86, 'ALTER TABLE {names.table} CLUSTER ON ' || quote_ident(relname)
            FROM {names.indexes} i WHERE indisclustered
        )
        SELECT array_agg(c.command ORDER BY place, c.command) INTO commands FROM commands c
        WHERE c.command IS NOT NULL;
        FOREACH command IN ARRAY commands LOOP
            EXECUTE command;
        END LOOP;
        IF counter IS NOT NULL THEN
            PERFORM setval(counter::regclass, counted, called);
        END IF;
        IF not_null IS NOT NULL THEN
            SELECT 'ALTER TABLE {names.table} RENAME CONSTRAINT ' || quote_ident(conname) || ' TO '
                || quote_ident(not_null) INTO command FROM pg_constraint
            WHERE conrelid = {names.id} AND contype = 'n' AND conkey = ARRAY[{names.number}]
            AND conname <> not_null;
            IF command IS NOT NULL THEN
                EXECUTE command;
            END IF;
        END IF;
        """,
        "problems text; commands text[]; command text; counter text; counted bigint; called boolean; not_null name;",
    )
"#;

pub(super) const DROP_OLD: &str = r#"def _drop_old_column(table_name, column_name, schema=None):
    """Drop the column that was replaced."""
    names = _type_change(table_name, column_name, schema)
    _execute_with_retries(f"ALTER TABLE {names.table} DROP COLUMN IF EXISTS {names.old};")
"#;
