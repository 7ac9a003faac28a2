//! Fills one table: chooses a way for each column that meets the checks, and inserts.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use postgres::error::SqlState;
use postgres::{Client, SimpleQueryMessage};

use super::Nulls;
use super::tables::{Check, Column, Default, ForeignKey, SETTINGS, Table, count};
use super::values::{Constants, Types, Value, digit};

/// One way to fill a column.
#[derive(Clone)]
pub(super) struct Choice {
    pub(super) value: Value,
    /// Every seventh row is NULL.
    pub(super) with_nulls: bool,
}

/// Fills one table.
pub(super) struct Filler<'c, 'a> {
    pub(super) client: &'c mut Client,
    pub(super) types: &'a Types,
    pub(super) table: &'a Table,
    /// How many rows there are, and how many there shall be.
    pub(super) before: u64,
    pub(super) rows: u64,
    pub(super) inserted: u64,
    /// What may be tried for each column, and which of it is.
    pub(super) choices: BTreeMap<i16, Vec<Choice>>,
    pub(super) chosen: BTreeMap<i16, usize>,
    pub(super) strides: BTreeMap<i16, u64>,
    /// Foreign keys to rows that are not there yet.
    pub(super) late: Vec<&'a ForeignKey>,
    pub(super) with_on_conflict: bool,
    /// The first error.
    pub(super) error: Option<String>,
    pub(super) is_hopeless: bool,
}

/// The parts of an `INSERT`.
pub(super) struct Plan {
    pub(super) columns: String,
    pub(super) values: String,
    /// What `g`, the numbers of the rows, is joined with.
    pub(super) joins: String,
}

/// How many combinations of candidates are tried for a check.
pub(super) const COMBINATIONS: usize = 400;

/// How many rows checks are tried with.
pub(super) const SAMPLE: u64 = 300;

/// How many statements may fail before a table is given up: while nothing was inserted, and at all.
pub(super) const FAILURES: (usize, usize) = (40, 400);

/// How often in a row no row may be inserted because of unique keys.
pub(super) const STALLS: usize = 6;

impl<'c, 'a> Filler<'c, 'a> {
    pub(super) fn new(
        client: &'c mut Client,
        types: &'a Types,
        table: &'a Table,
        nulls: Nulls,
        visited: &BTreeSet<u32>,
        (before, rows): (u64, u64),
    ) -> Result<Self> {
        let mut parents = BTreeMap::new();
        let mut late = Vec::new();
        for key in &table.foreign_keys {
            let is_required = key.is_required(table);
            let there = count(client, &key.source(table))?;
            if there > 0 && (is_required || visited.contains(&key.parent)) {
                for &column in &key.columns {
                    parents.entry(column).or_insert(Value::Parent(there));
                }
            } else if !is_required {
                for &column in key.columns.iter().filter(|&&column| !table.column(column).not_null) {
                    parents.insert(column, Value::Null);
                }
                late.push(key);
            }
        }

        let mut choices = BTreeMap::new();
        for column in &table.columns {
            let mut constants = Constants::default();
            for check in table.checks.iter().filter(|check| check.columns.contains(&column.number)) {
                constants.read(&check.expression, &column.name);
            }
            if let Some((_, _, checks)) = types.below_domains(column.type_oid, column.modifier) {
                constants.read(&checks, "VALUE");
            }
            let values = match parents.remove(&column.number) {
                Some(Value::Null) => vec![],
                Some(parent) => vec![parent],
                None => types.candidates(column, &constants),
            };
            let mut found = Vec::new();
            for value in values {
                if nulls == Nulls::Some && !column.not_null {
                    found.push(Choice { value: value.clone(), with_nulls: true });
                }
                found.push(Choice { value, with_nulls: false });
            }
            if !column.not_null {
                found.push(Choice { value: Value::Null, with_nulls: false });
            }
            choices.insert(column.number, found);
        }
        let chosen = choices.keys().map(|&column| (column, 0)).collect();
        Ok(Self {
            client,
            types,
            table,
            before,
            rows,
            inserted: 0,
            choices,
            chosen,
            strides: BTreeMap::new(),
            late,
            with_on_conflict: true,
            error: None,
            is_hopeless: false,
        })
    }

    /// Inserts what is missing; the answer is why nothing was inserted.
    ///
    /// # Errors
    /// The connection is broken.
    pub(super) fn fill(&mut self) -> Result<Option<String>> {
        if let Some(problem) = self.settle_types()? {
            return Ok(Some(problem));
        }
        self.settle_checks()?;
        self.settle_strides();
        let plan = match self.plan() {
            Ok(plan) => plan,
            Err(problem) => return Ok(Some(problem)),
        };
        let (mut next, mut stalls) = (self.before + 1, 0);
        while self.before + self.inserted < self.rows && stalls < STALLS && !self.is_hopeless {
            let (missing, so_far) = (self.rows - self.before - self.inserted, self.inserted);
            self.insert(&plan, (next, next + missing - 1))?;
            next += missing;
            stalls = if self.inserted > so_far { 0 } else { stalls + 1 };
        }
        let unknown = "its triggers, keys and foreign keys let no row in";
        Ok((self.inserted == 0).then(|| self.error.take().unwrap_or_else(|| unknown.to_owned())))
    }

    pub(super) fn choice(&self, column: i16) -> Option<&Choice> {
        self.choices.get(&column)?.get(*self.chosen.get(&column)?)
    }

    /// The value of a column that no foreign key gives.
    pub(super) fn expression(&self, column: &Column) -> Option<String> {
        let choice = self.choice(column.number)?;
        let value = match &choice.value {
            // Only to try checks with.
            Value::Parent(_) => self.types.value(column.type_oid, column.modifier)?,
            other => other.clone(),
        };
        let stride = self.strides.get(&column.number).copied().unwrap_or(1);
        Some(choice.sprinkle(column.number, &format!("CAST({} AS {})", value.expression(stride), column.sql)))
    }

    /// Whether an aggregate over the first and last rows to be inserted is true; it may use these columns.
    pub(super) fn is_true(&mut self, aggregate: &str, columns: &[i16]) -> Result<bool> {
        let columns: BTreeSet<_> = columns.iter().collect();
        let columns: Vec<_> = columns
            .into_iter()
            .map(|&column| self.table.column(column))
            .filter_map(|column| Some(format!("{} AS {}", self.expression(column)?, column.name)))
            .collect();
        let (from, to) = (self.before + 1, self.rows);
        let query = format!(
            "{SETTINGS} SELECT {aggregate} FROM (SELECT {} FROM (
                SELECT generate_series({from}, {}) UNION SELECT generate_series({}, {to})) g(n)) {}",
            columns.join(", "),
            to.min(from + SAMPLE),
            from.max(to.saturating_sub(SAMPLE / 10)),
            self.table.alias
        );
        match self.client.simple_query(&query) {
            Ok(messages) => Ok(messages.iter().any(|message| match message {
                SimpleQueryMessage::Row(row) => row.get(0) == Some("t"),
                _ => false,
            })),
            Err(error) if error.as_db_error().is_some() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes for every column the first candidate that its type accepts; the answer is why there is none.
    pub(super) fn settle_types(&mut self) -> Result<Option<String>> {
        let table = self.table;
        let given: Vec<_> =
            table.columns.iter().filter(|column| column.default != Default::Generated).collect();
        let numbers: Vec<_> = given.iter().map(|column| column.number).collect();
        let test = |column: &Column| format!("count({}) >= 0", column.name);
        let all: Vec<_> = given.iter().map(|column| test(column)).collect();
        if all.is_empty() || self.is_true(&all.join(" AND "), &numbers)? {
            return Ok(None);
        }
        for column in given {
            let candidates = self.choices.get(&column.number).map_or(0, Vec::len);
            let mut fits = false;
            for index in 0..candidates {
                self.chosen.insert(column.number, index);
                fits =
                    self.choice(column.number).is_some() && self.is_true(&test(column), &[column.number])?;
                if fits {
                    break;
                }
            }
            if !fits {
                if column.default == Default::None {
                    return Ok(Some(format!("no value is known for {} of type {}", column.name, column.sql)));
                }
                self.chosen.remove(&column.number);
            }
        }
        Ok(None)
    }

    /// Looks for candidates that meet the checks; those that none meets are left to be tried.
    pub(super) fn settle_checks(&mut self) -> Result<()> {
        let table = self.table;
        let is_generated = |&column: &i16| table.column(column).default == Default::Generated;
        let mut met: Vec<&Check> = Vec::new();
        for check in table.checks.iter().filter(|check| !check.columns.iter().any(is_generated)) {
            let together: Vec<&Check> = met
                .iter()
                .copied()
                .filter(|other| other.columns.iter().any(|column| check.columns.contains(column)))
                .chain([check])
                .collect();
            let is_met = match check.columns[..] {
                [column] => self.settle_column(column, &together)?,
                _ => self.settle_columns(&check.columns, &together)?,
            };
            met.extend(is_met.then_some(check));
        }
        Ok(())
    }

    pub(super) fn meets(&mut self, checks: &[&Check]) -> Result<bool> {
        let conditions: Vec<_> =
            checks.iter().map(|check| format!("bool_and(({}) IS NOT FALSE)", check.expression)).collect();
        let columns: Vec<_> = checks.iter().flat_map(|check| check.columns.iter().copied()).collect();
        self.is_true(&conditions.join(" AND "), &columns)
    }

    /// Keeps the candidates that meet the checks of a column, if there are any.
    pub(super) fn settle_column(&mut self, column: i16, checks: &[&Check]) -> Result<bool> {
        let is_shared = |check: &Check| check.columns.len() > 1 && check.columns.contains(&column);
        let meets_already = self.meets(checks)?;
        if meets_already && !self.table.checks.iter().any(is_shared) {
            return Ok(true);
        }
        let before = self.chosen.get(&column).copied();
        let mut kept = Vec::new();
        for (index, choice) in self.choices[&column].clone().into_iter().enumerate() {
            self.chosen.insert(column, index);
            if self.meets(checks)? {
                kept.push(choice);
            }
        }
        if kept.is_empty() {
            before.map(|before| self.chosen.insert(column, before));
            return Ok(false);
        }

        // All constants that meet the checks make one more candidate.
        let mut constants: Vec<String> = Vec::new();
        for choice in &kept {
            if let Value::Free(expression) = &choice.value
                && choice.value.radix() == Some(1)
                && !constants.contains(expression)
            {
                constants.push(expression.clone());
            }
        }
        if constants.len() > 1 {
            let ranges_are_better = constants.iter().all(|constant| constant.parse::<f64>().is_ok());
            let first = kept.iter().position(|choice| choice.value.radix() == Some(1)).unwrap_or(0);
            let at = if meets_already || ranges_are_better { first } else { 0 };
            let with_nulls = kept[0].with_nulls;
            let joined = [with_nulls, false]
                .map(|with_nulls| Choice { value: Value::Cycle(constants.clone()), with_nulls });
            kept.splice(at..at, joined);
        }
        self.choices.insert(column, kept);
        self.chosen.insert(column, 0);
        Ok(true)
    }

    /// Looks for candidates of several columns that meet checks together, near those which are chosen.
    pub(super) fn settle_columns(&mut self, columns: &[i16], checks: &[&Check]) -> Result<bool> {
        let before = self.chosen.clone();
        let orders: Vec<_> = columns.iter().map(|&column| (column, self.order(column))).collect();
        let lengths: Vec<_> = orders.iter().map(|(_, order)| order.len()).collect();
        for combination in combinations(&lengths) {
            for ((column, order), index) in orders.iter().zip(combination) {
                self.chosen.insert(*column, order[index]);
            }
            if self.meets(checks)? {
                return Ok(true);
            }
        }
        self.chosen = before;
        Ok(false)
    }

    /// In which order the candidates of a column are tried together with others': NULL is often the answer.
    pub(super) fn order(&self, column: i16) -> Vec<usize> {
        let choices = &self.choices[&column];
        let is_null = |index: &usize| matches!(choices[*index].value, Value::Null);
        let current = self.chosen.get(&column).copied();
        let (nulls, others): (Vec<_>, Vec<_>) =
            (0..choices.len()).filter(|index| Some(*index) != current).partition(is_null);
        current.into_iter().chain(nulls).chain(others).collect()
    }

    /// Lets columns that have few values vary so that no combination of a unique key comes twice.
    pub(super) fn settle_strides(&mut self) {
        for key in &self.table.keys {
            let radix = |&column: &i16| {
                let is_given = self.table.column(column).is_given();
                let choice = self.choice(column)?;
                choice.value.radix().filter(|_| is_given || matches!(choice.value, Value::Parent(_)))
            };
            let Some(radixes) = key.iter().map(radix).collect::<Option<Vec<_>>>() else { continue };
            let mut stride = 1_u64;
            let mut seen: BTreeSet<i16> = BTreeSet::new();
            for (&column, radix) in key.iter().zip(radixes) {
                // The columns of a foreign key move together.
                let together = self.table.foreign_keys.iter().find(|other| other.columns.contains(&column));
                let together = together.map_or_else(|| vec![column], |key| key.columns.clone());
                if seen.contains(&column) || self.strides.contains_key(&column) {
                    continue;
                }
                seen.extend(&together);
                for column in together {
                    self.strides.entry(column).or_insert(stride);
                }
                stride = stride.saturating_mul(radix.max(1)).min(i64::MAX.unsigned_abs());
            }
        }
    }

    /// Puts together what is to be inserted.
    ///
    /// # Errors
    /// Why that cannot be done.
    pub(super) fn plan(&self) -> Result<Plan, String> {
        let table = self.table;
        let mut given: BTreeMap<i16, String> = BTreeMap::new();
        let mut joins = String::new();
        let is_null = |column: i16| matches!(self.choice(column), Some(Choice { value: Value::Null, .. }));
        for (place, key) in table.foreign_keys.iter().enumerate() {
            if key.columns.iter().any(|&column| is_null(column))
                || key.columns.iter().all(|column| given.contains_key(column))
            {
                continue;
            }
            let rows = key.columns.iter().find_map(|&column| match self.choice(column)?.value {
                Value::Parent(rows) => Some(rows),
                _ => None,
            });
            let Some(rows) = rows else {
                if key.parent == table.oid
                    && let Some(own) = self.own_values(key)
                {
                    given.extend(own);
                    continue;
                }
                return Err(format!(
                    "the foreign key {} needs rows of {}",
                    key.name,
                    key.parent_name.trim_start_matches("ONLY ")
                ));
            };
            joins.push_str(&self.join(place, key, rows, &given));
            let phase = key.columns[0];
            for (number, &column) in key.columns.iter().enumerate() {
                let with_nulls = |expression: &str| match self.choice(column) {
                    Some(choice) => choice.sprinkle(phase, expression),
                    None => expression.to_owned(),
                };
                given.entry(column).or_insert_with(|| with_nulls(&format!("f{place}.k{number}")));
            }
        }
        for column in table.columns.iter().filter(|column| column.is_given()) {
            if !given.contains_key(&column.number)
                && let Some(expression) = self.expression(column)
            {
                given.insert(column.number, expression);
            }
        }
        let names: Vec<_> = given.keys().map(|&column| table.name_of(column)).collect();
        let columns = if names.is_empty() { String::new() } else { format!("({})", names.join(", ")) };
        let values: Vec<_> = given.into_values().collect();
        Ok(Plan { columns, values: values.join(", "), joins })
    }

    /// The values of the row itself for a foreign key to its own table.
    pub(super) fn own_values(&self, key: &ForeignKey) -> Option<Vec<(i16, String)>> {
        key.columns
            .iter()
            .zip(&key.parent_columns)
            .map(|(&column, name)| {
                let parent = self.table.columns.iter().find(|column| column.name == *name)?;
                let expression = self.expression(parent).filter(|_| parent.is_given())?;
                Some((column, expression))
            })
            .collect()
    }

    /// Joins the rows that a foreign key refers to. Of those only the ones count that agree with the columns given
    /// by other foreign keys.
    pub(super) fn join(
        &self,
        place: usize,
        key: &ForeignKey,
        rows: u64,
        given: &BTreeMap<i16, String>,
    ) -> String {
        let keys: Vec<_> = key.columns.iter().map(|&column| self.table.name_of(column)).collect();
        let names: Vec<_> =
            keys.iter().enumerate().map(|(number, name)| format!("{name} AS k{number}")).collect();
        let (order, all, source) = (keys.join(", "), names.join(", "), key.source(self.table));
        let must_be_there = |column: &i16| !given.contains_key(column) && self.table.column(*column).not_null;
        let join = if key.columns.iter().any(must_be_there) { "JOIN" } else { "LEFT JOIN" };
        let stride = self.strides.get(&key.columns[0]).copied().unwrap_or(1);

        let shared: Vec<_> = key
            .columns
            .iter()
            .enumerate()
            .filter_map(|(number, column)| Some((number, given.get(column)?)))
            .collect();
        if shared.is_empty() {
            let place_of_row = digit(stride, &rows.to_string());
            return format!(
                " {join} (SELECT {all}, row_number() OVER (ORDER BY {order}) - 1 AS i FROM {source}) f{place} \
                 ON f{place}.i = {place_of_row}"
            );
        }
        let by: Vec<_> = shared.iter().map(|(number, _)| keys[*number]).collect();
        let by = by.join(", ");
        let groups: Vec<_> = shared.iter().map(|(number, _)| names[*number].as_str()).collect();
        let groups = groups.join(", ");
        let agrees = |alias: char| -> String {
            let equal: Vec<_> =
                shared.iter().map(|(number, value)| format!("{alias}{place}.k{number} = {value}")).collect();
            equal.join(" AND ")
        };
        let place_of_row = digit(stride, &format!("c{place}.m"));
        format!(
            " {join} (SELECT {groups}, count(*) AS m FROM {source} GROUP BY {by}) c{place} ON {} \
             {join} (SELECT {all}, row_number() OVER (PARTITION BY {by} ORDER BY {order}) - 1 AS i \
             FROM {source}) f{place} ON {} AND f{place}.i = {place_of_row}",
            agrees('c'),
            agrees('f')
        )
    }

    /// Inserts the rows of these numbers, in ever smaller groups where that fails. Each group is a transaction.
    pub(super) fn insert(&mut self, plan: &Plan, numbers: (u64, u64)) -> Result<()> {
        let (mut groups, mut failures) = (vec![numbers], 0);
        while let Some((from, to)) = groups.pop() {
            let statement = format!(
                "{SETTINGS}
                INSERT INTO {} {} OVERRIDING SYSTEM VALUE
                SELECT {} FROM generate_series({from}, {to}) g(n){} ORDER BY g.n{}",
                self.table.name,
                plan.columns,
                plan.values,
                plan.joins,
                if self.with_on_conflict { " ON CONFLICT DO NOTHING" } else { "" }
            );
            let error = match self.client.simple_query(&statement) {
                Ok(messages) => {
                    let inserted = messages.iter().filter_map(|message| match message {
                        SimpleQueryMessage::CommandComplete(rows) => Some(*rows),
                        _ => None,
                    });
                    self.inserted += inserted.last().unwrap_or(0);
                    continue;
                }
                Err(error) => error,
            };
            let Some(database) = error.as_db_error() else { return Err(error.into()) };
            // Rules and deferrable keys do not go with ON CONFLICT.
            let does_not_go = [SqlState::FEATURE_NOT_SUPPORTED, SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE];
            let retry = self.with_on_conflict && does_not_go.contains(database.code());
            if retry {
                self.with_on_conflict = false;
                groups.push((from, to));
                continue;
            }
            self.error.get_or_insert_with(|| database.message().to_owned());
            failures += 1;
            let limit = if self.inserted == 0 { FAILURES.0 } else { FAILURES.1 };
            self.is_hopeless = *database.code() == SqlState::QUERY_CANCELED || failures >= limit;
            if self.is_hopeless {
                break;
            }
            if from < to {
                let middle = from.midpoint(to);
                groups.extend([(middle + 1, to), (from, middle)]);
            }
        }
        Ok(())
    }
}

impl Choice {
    pub(super) fn sprinkle(&self, phase: i16, expression: &str) -> String {
        if self.with_nulls {
            format!("CASE WHEN (g.n + {phase}) % 7 <> 0 THEN {expression} END")
        } else {
            expression.to_owned()
        }
    }
}

impl ForeignKey {
    /// The rows that a table may refer to, with the names of its own columns.
    pub(super) fn source(&self, table: &Table) -> String {
        let columns: Vec<_> = self.columns.iter().map(|&column| table.name_of(column)).collect();
        let pairs: Vec<_> = self
            .parent_columns
            .iter()
            .zip(&columns)
            .map(|(parent, own)| format!("{parent} AS {own}"))
            .collect();
        let mut conditions: Vec<_> = columns.iter().map(|own| format!("{own} IS NOT NULL")).collect();
        let is_own = |check: &&Check| check.columns.iter().all(|column| self.columns.contains(column));
        let checks = table.checks.iter().filter(is_own);
        conditions.extend(checks.map(|check| format!("({}) IS NOT FALSE", check.expression)));
        format!(
            "(SELECT {} FROM {}) {} WHERE {}",
            pairs.join(", "),
            self.parent_name,
            table.alias,
            conditions.join(" AND ")
        )
    }
}

/// Indexes below these lengths, at most `COMBINATIONS`, those first that are small altogether.
pub(super) fn combinations(lengths: &[usize]) -> Vec<Vec<usize>> {
    pub(super) fn extend(
        lengths: &[usize],
        total: usize,
        start: &mut Vec<usize>,
        found: &mut Vec<Vec<usize>>,
    ) {
        let Some((&length, rest)) = lengths.split_first() else {
            if total == 0 {
                found.push(start.clone());
            }
            return;
        };
        let most: usize = rest.iter().map(|length| length.saturating_sub(1)).sum();
        for index in total.saturating_sub(most)..length.min(total + 1) {
            if found.len() >= COMBINATIONS {
                return;
            }
            start.push(index);
            extend(rest, total - index, start, found);
            start.pop();
        }
    }
    let mut found = Vec::new();
    for total in 0..=lengths.iter().map(|length| length.saturating_sub(1)).sum() {
        extend(lengths, total, &mut Vec::new(), &mut found);
    }
    found
}
