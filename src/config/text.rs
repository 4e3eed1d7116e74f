//! Small text helpers: `${VAR}`, did-you-mean, lists.

/// Replaces `${VAR}` by the variable's value; `$${` stands for `${`. `Err` names the variable
/// that is not defined.
pub fn expand(text: &str, environment: &[(String, String)]) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix("$${") {
            out.push_str("${");
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix("${").and_then(|r| r.split_once('}'))
        {
            let value = environment.iter().find(|(variable, _)| variable == name);
            out.push_str(&value.ok_or_else(|| name.to_string())?.1);
            rest = after;
        } else {
            out.push('$');
            rest = &rest[1..];
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// The inverse of [`expand`] for a text without variables.
pub fn escape(text: &str) -> String {
    text.replace("${", "$${")
}

/// The candidate that was probably meant.
pub fn suggest<'a>(text: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let close = |candidate: &&str| {
        let distance = strsim::damerau_levenshtein(text, candidate);
        let limit = 1 + text.chars().count().max(candidate.chars().count()) / 4;
        (distance <= limit && distance < text.chars().count()).then_some(distance)
    };
    let scored = candidates.iter().filter_map(|candidate| Some((close(candidate)?, *candidate)));
    scored.min_by_key(|(distance, _)| *distance).map(|(_, candidate)| candidate)
}

/// `"a", "b", "c"`
pub fn list(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
    quoted.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expands_and_escapes() {
        let environment = [("A".to_string(), "x".to_string())];
        assert_eq!(expand("${A}/b", &environment), Ok("x/b".into()));
        assert_eq!(expand("$A $5 $${A} ${", &environment), Ok("$A $5 ${A} ${".into()));
        assert_eq!(expand("${B}", &environment), Err("B".into()));
        for literal in ["${A}", "$${A}", "$$", "a$"] {
            assert_eq!(expand(&escape(literal), &environment), Ok(literal.into()));
        }
    }

    #[test]
    fn suggests_what_is_near() {
        let kinds = ["arcface", "cosface", "cross_entropy"];
        assert_eq!(suggest("arcfce", &kinds), Some("arcface"));
        assert_eq!(suggest("cross_entropi", &kinds), Some("cross_entropy"));
        assert_eq!(suggest("triplet", &kinds), None);
        assert_eq!(suggest("x", &["y"]), None);
    }
}
