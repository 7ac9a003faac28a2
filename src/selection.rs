//! Which rules apply, and which of them may fix.

use std::collections::BTreeSet;
use std::str::FromStr;

use anyhow::{Result, anyhow};
use safemig_transforms::rules::{self, RULES};

/// One value of `--select`: a rule's name or `ALL`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Selector {
    All,
    Rule(String),
}

impl FromStr for Selector {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let text = text.trim();
        if text == "ALL" {
            Ok(Self::All)
        } else if rules::find(text).is_some() {
            Ok(Self::Rule(text.to_owned()))
        } else {
            let hint = nearest(text).map_or_else(
                || "`safemig rule` lists all rules".to_owned(),
                |name| format!("did you mean `{name}`?"),
            );
            Err(anyhow!("unknown rule `{text}`\nhint: {hint}"))
        }
    }
}

/// The rule, or `ALL`, that `name` was probably meant to be.
pub(crate) fn nearest(name: &str) -> Option<String> {
    /// Below this likeness (0 to 1) a suggestion confuses more than it helps.
    const ALIKE: f64 = 0.75;
    let wanted = name.to_lowercase().replace('_', "-");
    RULES
        .iter()
        .map(|rule| (strsim::jaro_winkler(&wanted, &rule.name()), rule.name()))
        .chain([(strsim::jaro_winkler(&wanted, "all"), "ALL".to_owned())])
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

/// A set of rules, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RuleSet(BTreeSet<String>);

/// One source of selectors: the configuration, or the flags.
#[derive(Debug, Default)]
pub(crate) struct Layer<'a> {
    /// Starts anew.
    pub(crate) only: Option<&'a [Selector]>,
    pub(crate) with: &'a [Selector],
    pub(crate) without: &'a [Selector],
}

impl RuleSet {
    pub(crate) fn all() -> Self {
        Self(RULES.iter().map(rules::Rule::name).collect())
    }

    /// Without the rules whose fixes lead to another schema.
    pub(crate) fn without_design(mut self) -> Self {
        let design: BTreeSet<String> =
            RULES.iter().filter(|rule| rule.is_about_design()).map(rules::Rule::name).collect();
        self.0.retain(|name| !design.contains(name));
        self
    }

    /// The later layer counts for more; within a layer a name counts for more than `ALL`, and
    /// leaving out for more than taking in, as in ruff.
    pub(crate) fn resolve(layers: &[Layer]) -> Self {
        let mut set = Self::all();
        for layer in layers {
            if layer.only.is_some() {
                set.0.clear();
            }
            let chosen = || layer.only.unwrap_or_default().iter().chain(layer.with);
            if chosen().any(|selector| *selector == Selector::All) {
                set = Self::all();
            }
            if layer.without.contains(&Selector::All) {
                set.0.clear();
            }
            set.0.extend(chosen().filter_map(Selector::name));
            for name in layer.without.iter().filter_map(Selector::name) {
                set.0.remove(&name);
            }
        }
        set
    }

    /// Exactly these.
    pub(crate) fn of(selectors: &[Selector]) -> Self {
        Self::resolve(&[Layer { only: Some(selectors), ..Layer::default() }])
    }

    pub(crate) fn contains(&self, rule: &str) -> bool {
        self.0.contains(rule)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl Selector {
    fn name(&self) -> Option<String> {
        match self {
            Self::All => None,
            Self::Rule(name) => Some(name.clone()),
        }
    }
}

/// Reads the rule names of a configuration's `key`.
///
/// # Errors
/// A name that is no rule's.
pub(crate) fn parse(names: Option<&[String]>, key: &str) -> Result<Option<Vec<Selector>>> {
    let Some(names) = names else { return Ok(None) };
    let selectors = names.iter().map(|name| name.parse().map_err(|error| anyhow!("{key}: {error}")));
    selectors.collect::<Result<_>>().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selectors(names: &[&str]) -> Vec<Selector> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    /// `select`, `extend-select` and `ignore`.
    type Names<'a> = (Option<&'a [&'a str]>, &'a [&'a str], &'a [&'a str]);

    fn resolve(layers: &[Names]) -> Vec<String> {
        let owned: Vec<_> = layers
            .iter()
            .map(|(only, with, without)| (only.map(selectors), selectors(with), selectors(without)))
            .collect();
        let layers: Vec<_> = owned
            .iter()
            .map(|(only, with, without)| Layer { only: only.as_deref(), with, without })
            .collect();
        RuleSet::resolve(&layers).iter().map(str::to_owned).collect()
    }

    const KEY: &str = "split-foreign-key";

    #[test]
    fn everything_is_selected_unless_told_otherwise() {
        assert_eq!(resolve(&[]).len(), RULES.len());
        assert_eq!(resolve(&[(Some(&[KEY]), &[], &[])]), [KEY]);
        assert_eq!(resolve(&[(None, &[], &[KEY])]).len(), RULES.len() - 1);
    }

    #[test]
    fn a_name_goes_before_all_and_leaving_out_before_taking_in() {
        assert_eq!(resolve(&[(Some(&[KEY]), &[], &["ALL"])]), [KEY]);
        assert_eq!(resolve(&[(Some(&["ALL"]), &[KEY], &[KEY])]).len(), RULES.len() - 1);
    }

    #[test]
    fn flags_go_before_the_configuration() {
        let configured: Names = (Some(&["ALL"]), &[], &[KEY]);
        assert_eq!(resolve(&[configured, (Some(&[KEY]), &[], &[])]), [KEY]);
        assert_eq!(resolve(&[configured, (None, &[KEY], &[])]).len(), RULES.len());
    }

    #[test]
    fn a_misspelt_name_gets_a_suggestion() {
        let error = "split_foreing_key".parse::<Selector>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown rule `split_foreing_key`\nhint: did you mean `split-foreign-key`?"
        );
        assert!("xyz".parse::<Selector>().unwrap_err().to_string().contains("lists all rules"));
    }
}
