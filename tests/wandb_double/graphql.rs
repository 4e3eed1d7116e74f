//! As much of GraphQL as clients of W&B use: one operation, variables, aliases, fragments.
//!
//! A client may write its queries as it likes, so they are read and not compared; and an answer
//! holds only what was asked for, as a real server's does.

use serde_json::{Map, Value, json};

#[derive(Debug)]
pub struct Field {
    pub alias: String,
    pub name: String,
    pub args: Map<String, Value>,
    pub fields: Vec<Field>,
}

enum Selection {
    Field(Field, Vec<Selection>),
    Spread(String),
    Inline(Vec<Selection>),
}

/// The root fields of the operation.
pub fn parse(query: &str, variables: &Map<String, Value>) -> Result<Vec<Field>, String> {
    let mut parser = Parser { tokens: tokens(query)?, at: 0, given: variables, known: Map::new() };
    let mut root = None;
    let mut fragments = Vec::new();
    while parser.at < parser.tokens.len() {
        if parser.eat("fragment") {
            let name = parser.next()?;
            parser.expect("on")?;
            parser.next()?;
            fragments.push((name, parser.selections()?));
            continue;
        }
        if parser.eat("query") || parser.eat("mutation") {
            if !["(", "{"].contains(&parser.peek()) {
                parser.next()?;
            }
            if parser.eat("(") {
                parser.declarations()?;
            }
        }
        if root.replace(parser.selections()?).is_some() {
            return Err("more than one operation".into());
        }
    }
    if let Some(name) = variables.keys().find(|name| !parser.known.contains_key(*name)) {
        return Err(format!("variable ${name} is given but not declared"));
    }
    flatten(root.ok_or("no operation")?, &fragments)
}

fn flatten(
    selections: Vec<Selection>,
    fragments: &[(String, Vec<Selection>)],
) -> Result<Vec<Field>, String> {
    fn walk(
        selections: &[Selection],
        fragments: &[(String, Vec<Selection>)],
        out: &mut Vec<Field>,
    ) -> Result<(), String> {
        for selection in selections {
            match selection {
                Selection::Field(field, inner) => {
                    let mut fields = Vec::new();
                    walk(inner, fragments, &mut fields)?;
                    let (alias, name) = (field.alias.clone(), field.name.clone());
                    out.push(Field { alias, name, args: field.args.clone(), fields });
                }
                Selection::Spread(name) => {
                    let found = fragments.iter().find(|(known, _)| known == name);
                    let (_, inner) = found.ok_or_else(|| format!("no fragment {name}"))?;
                    walk(inner, fragments, out)?;
                }
                Selection::Inline(inner) => walk(inner, fragments, out)?,
            }
        }
        Ok(())
    }
    let mut out = Vec::new();
    walk(&selections, fragments, &mut out)?;
    Ok(out)
}

/// Names, numbers, strings (with their first quote, already unescaped) and single signs.
fn tokens(text: &str) -> Result<Vec<String>, String> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let word = |c: char| c.is_alphanumeric() || c == '_' || c == '.' || c == '-';
        let length = if next.is_whitespace() || next == ',' {
            rest = &rest[next.len_utf8()..];
            continue;
        } else if next == '#' {
            rest = rest.split_once('\n').map_or("", |(_, after)| after);
            continue;
        } else if rest.starts_with("...") {
            3
        } else if next == '"' {
            let mut values = serde_json::Deserializer::from_str(rest).into_iter::<String>();
            let value = values.next().and_then(Result::ok).ok_or("a bad string in the query")?;
            tokens.push(format!("\"{value}"));
            rest = &rest[values.byte_offset()..];
            continue;
        } else if word(next) {
            rest.find(|c| !word(c)).unwrap_or(rest.len())
        } else {
            next.len_utf8()
        };
        tokens.push(rest[..length].to_string());
        rest = &rest[length..];
    }
    Ok(tokens)
}

struct Parser<'a> {
    tokens: Vec<String>,
    at: usize,
    given: &'a Map<String, Value>,
    known: Map<String, Value>,
}

impl Parser<'_> {
    fn peek(&self) -> &str {
        self.tokens.get(self.at).map_or("", String::as_str)
    }

    fn next(&mut self) -> Result<String, String> {
        let token = self.tokens.get(self.at).ok_or("the query ends too early")?;
        self.at += 1;
        Ok(token.clone())
    }

    fn eat(&mut self, token: &str) -> bool {
        let found = self.peek() == token;
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, token: &str) -> Result<(), String> {
        if self.eat(token) {
            return Ok(());
        }
        Err(format!("syntax error: `{token}` expected before `{}`", self.peek()))
    }

    /// `$name: Type!, $other: [Type!] = 1)`.
    fn declarations(&mut self) -> Result<(), String> {
        while !self.eat(")") {
            self.expect("$")?;
            let name = self.next()?;
            self.expect(":")?;
            let mut last = self.next()?;
            while !["$", ")", "=", ""].contains(&self.peek()) {
                last = self.next()?;
            }
            let default = if self.eat("=") { self.value()? } else { Value::Null };
            let value = self.given.get(&name).cloned().unwrap_or(default);
            if last == "!" && value.is_null() {
                return Err(format!("variable ${name} must not be null"));
            }
            self.known.insert(name, value);
        }
        Ok(())
    }

    fn selections(&mut self) -> Result<Vec<Selection>, String> {
        self.expect("{")?;
        let mut found = Vec::new();
        while !self.eat("}") {
            if self.eat("...") {
                if self.eat("on") {
                    self.next()?;
                    found.push(Selection::Inline(self.selections()?));
                } else {
                    found.push(Selection::Spread(self.next()?));
                }
                continue;
            }
            let alias = self.next()?;
            let name = if self.eat(":") { self.next()? } else { alias.clone() };
            let args = if self.eat("(") { self.pairs(")")? } else { Map::new() };
            let inner = if self.peek() == "{" { self.selections()? } else { Vec::new() };
            found.push(Selection::Field(Field { alias, name, args, fields: Vec::new() }, inner));
        }
        Ok(found)
    }

    fn pairs(&mut self, end: &str) -> Result<Map<String, Value>, String> {
        let mut pairs = Map::new();
        while !self.eat(end) {
            let key = self.next()?;
            self.expect(":")?;
            let value = self.value()?;
            pairs.insert(key, value);
        }
        Ok(pairs)
    }

    fn value(&mut self) -> Result<Value, String> {
        let token = self.next()?;
        match token.as_str() {
            "$" => {
                let name = self.next()?;
                let value = self.known.get(&name).cloned();
                value.ok_or_else(|| format!("variable ${name} is not declared"))
            }
            "{" => Ok(Value::Object(self.pairs("}")?)),
            "[" => {
                let mut items = Vec::new();
                while !self.eat("]") {
                    items.push(self.value()?);
                }
                Ok(Value::Array(items))
            }
            _ if token.starts_with('"') => Ok(json!(token[1..])),
            // Numbers, booleans, null; the rest are names of an enumeration.
            _ => Ok(serde_json::from_str(&token).unwrap_or(json!(token))),
        }
    }
}

/// The part of `value` that was asked for.
pub fn project(value: &Value, fields: &[Field]) -> Result<Value, String> {
    match value {
        Value::Array(items) => items.iter().map(|item| project(item, fields)).collect(),
        Value::Object(_) if fields.is_empty() => Err("a selection of fields is missing".into()),
        Value::Object(all) => {
            let mut out = Map::new();
            for field in fields {
                let found = match field.name.as_str() {
                    "__typename" => &json!("Object"),
                    name => all.get(name).ok_or_else(|| format!("Cannot query field {name}"))?,
                };
                out.insert(field.alias.clone(), project(found, &field.fields)?);
            }
            Ok(Value::Object(out))
        }
        Value::Null => Ok(Value::Null),
        _ if fields.is_empty() => Ok(value.clone()),
        _ => Err(format!("Field {} of a value without fields", fields[0].name)),
    }
}
