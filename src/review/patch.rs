//! A diff that was edited by hand, as in `git add -p`.

/// The text after a patch whose lines were edited: the numbers behind `@@` may be wrong by now, except for where each
/// part starts in the old text. Lines that start with `#` are comments.
///
/// # Errors
/// Which line doesn't fit.
pub(super) fn apply(old: &str, patch: &str) -> Result<String, String> {
    let lines: Vec<&str> = old.split_inclusive('\n').collect();
    let end = lines.first().filter(|line| line.ends_with("\r\n")).map_or("\n", |_| "\r\n");
    let mut new = String::with_capacity(old.len());
    let mut at = 0;
    let mut inside = false;
    let mut patch = patch.split_inclusive('\n').enumerate().peekable();
    while let Some((number, line)) = patch.next() {
        let number = number + 1;
        let text = line.trim_end_matches(['\n', '\r']);
        if let Some(start) = text.strip_prefix("@@ ") {
            let start = start_of_part(start)
                .filter(|start| (at..=lines.len()).contains(start))
                .ok_or_else(|| format!("line {number}: `{text}` is not where the text goes on"))?;
            new.extend(lines[at..start].iter().copied());
            (at, inside) = (start, true);
            continue;
        }
        if !inside || text.starts_with('#') || text.starts_with('\\') {
            continue;
        }
        // Many editors take the space from an empty line.
        let sign = text.chars().next().unwrap_or(' ');
        let content = text.strip_prefix(sign).unwrap_or_default();
        match sign {
            ' ' | '-' => {
                let there = lines.get(at).copied().unwrap_or_default();
                if there.is_empty() || there.trim_end_matches(['\n', '\r']) != content {
                    return Err(format!("line {number}: the file has no such line there: `{content}`"));
                }
                if sign == ' ' {
                    new.push_str(there);
                }
                at += 1;
            }
            '+' => {
                let unfinished = patch.peek().is_some_and(|(_, next)| next.starts_with('\\'));
                new.push_str(content);
                new.push_str(if unfinished { "" } else { end });
            }
            _ => return Err(format!("line {number}: it starts with none of `+`, `-`, ` `, `@`, `#`")),
        }
    }
    new.extend(lines[at..].iter().copied());
    Ok(new)
}

/// `-18,7 +18,9 @@ …` → the number of lines before the part.
fn start_of_part(header: &str) -> Option<usize> {
    let (old, _) = header.strip_prefix('-')?.split_once(' ')?;
    let (start, length) = old.split_once(',').unwrap_or((old, "1"));
    let start: usize = start.parse().ok()?;
    // A part without old lines stands behind the line of that number.
    if length == "0" { Some(start) } else { start.checked_sub(1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "a\nb\n\nc\nd\ne";

    #[test]
    fn what_was_not_edited_applies() {
        let patch = "--- a/x\n+++ b/x\n@@ -1,5 +1,5 @@\n a\n-b\n+B\n \n c\n d\n";
        assert_eq!(apply(OLD, patch).as_deref(), Ok("a\nB\n\nc\nd\ne"));
        let end = "@@ -5,2 +5,2 @@\n d\n-e\n\\ No newline at end of file\n+E\n\\ No newline at end of file\n";
        assert_eq!(apply(OLD, end).as_deref(), Ok("a\nb\n\nc\nd\nE"));
        assert_eq!(apply("", "@@ -0,0 +1 @@\n+a\n").as_deref(), Ok("a\n"));
    }

    #[test]
    fn lines_may_be_added_and_left_out() {
        let patch = "# Edit.\n@@ -1,5 +1,5 @@\n a\n b\n+new\n+newer\n\n c\n";
        assert_eq!(apply(OLD, patch).as_deref(), Ok("a\nb\nnew\nnewer\n\nc\nd\ne"));
        assert_eq!(apply("a\r\nb\r\n", "@@ -1 +1 @@\n-a\n+x\n").as_deref(), Ok("x\r\nb\r\n"));
        assert_eq!(apply(OLD, "").as_deref(), Ok(OLD));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let error = apply(OLD, "@@ -1,2 +1,2 @@\n a\n-x\n").unwrap_err();
        assert_eq!(error, "line 3: the file has no such line there: `x`");
        assert!(apply(OLD, "@@ -99 +99 @@\n a\n").unwrap_err().starts_with("line 1: "));
        assert!(apply(OLD, "@@ -1 +1 @@\né\n").unwrap_err().starts_with("line 2: "));
    }
}
