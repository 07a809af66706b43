//! Queries as people write them on a command line: `type:Enrolled,tag:course:c1 or stream:limits-7`.

use quorate_proto::{
    Category, CorrelationId, EventType, Invalid, Path, Query, QueryItem, Scope, StreamName, Tag,
};

/// The description of the syntax in the help of commands.
pub(crate) const SYNTAX: &str = "\
A QUERY is one or more items with ` or ` between them; an event matches that any item matches. An item is one \
or more demands with commas between them, and all of them hold for an event that it matches:

  stream:NAME, category:NAME, path:NAME  where to look; at most one of them
  type:NAME                              the type; of several, any
  tag:TAG                                a tag; of several, all
  correlation:ID                         the correlation id
  *                                      nothing: every event

A name with a comma, a space or a quotation mark in it stands in quotation marks, as a JSON string. \
For example: type:Enrolled,tag:course:c1 or stream:limits-7";

/// Reads a query; the error describes what is wrong with the text.
pub(crate) fn parse(text: &str) -> Result<Query, String> {
    let mut rest = text.trim();
    let mut items = vec![QueryItem::default()];
    loop {
        rest = demand(rest, items.last_mut().expect("there is one from the beginning on"))?;
        if let Some(further) = rest.strip_prefix(',') {
            rest = further.trim_start();
        } else if rest.trim_start().is_empty() {
            break;
        } else {
            rest = next_item(rest)?;
            items.push(QueryItem::default());
        }
    }
    let query = Query { items };
    query.check().map_err(|invalid| invalid.to_string())?;
    Ok(query)
}

/// Writes a query as [`parse`] reads it.
pub(crate) fn show(query: &Query) -> String {
    let items: Vec<String> = query.items.iter().map(show_item).collect();
    if items.is_empty() { "*".to_owned() } else { items.join(" or ") }
}

fn show_item(item: &QueryItem) -> String {
    let scope = item.scope.as_ref().map(|scope| match scope {
        Scope::Stream(name) => ("stream", name.as_str()),
        Scope::Category(name) => ("category", name.as_str()),
        Scope::Path(name) => ("path", name.as_str()),
    });
    let types = item.types.iter().map(|kind| ("type", kind.as_str()));
    let tags = item.tags.iter().map(|tag| ("tag", tag.as_str()));
    let correlation = item.correlation.as_ref().map(|id| ("correlation", id.as_str()));
    let demands = scope.into_iter().chain(types).chain(tags).chain(correlation);
    let demands: Vec<String> =
        demands.map(|(key, value)| format!("{key}:{}", quoted(value))).collect();
    if demands.is_empty() { "*".to_owned() } else { demands.join(",") }
}

/// Returns a name, in quotation marks if it needs them.
fn quoted(name: &str) -> String {
    let is_plain = |c: char| c != ',' && c != '"' && !c.is_whitespace();
    if name.chars().all(is_plain) {
        name.to_owned()
    } else {
        serde_json::Value::from(name).to_string()
    }
}

/// Returns the text after the `or`.
fn next_item(rest: &str) -> Result<&str, String> {
    let behind = rest.trim_start().strip_prefix("or");
    behind
        .filter(|behind| behind.starts_with(char::is_whitespace))
        .map(str::trim_start)
        .ok_or_else(|| format!("`{}` stands where `,` or ` or ` is expected", rest.trim_start()))
}

/// Reads one demand into the item; returns the text after the demand.
fn demand<'a>(text: &'a str, item: &mut QueryItem) -> Result<&'a str, String> {
    if let Some(rest) = text.strip_prefix('*') {
        return Ok(rest);
    }
    let (key, rest) = text.split_once(':').ok_or_else(|| {
        format!("`{text}` is no demand like `type:NAME`, `tag:TAG` or `stream:NAME`")
    })?;
    let (value, rest) = value(rest)?;
    add(item, key, &value)?;
    Ok(rest)
}

fn add(item: &mut QueryItem, key: &str, value: &str) -> Result<(), String> {
    let message = |invalid: Invalid| invalid.to_string();
    let scope = match key {
        "type" => {
            item.types.push(EventType::new(value).map_err(message)?);
            return Ok(());
        }
        "tag" => {
            item.tags.push(Tag::new(value).map_err(message)?);
            return Ok(());
        }
        "correlation" if item.correlation.is_some() => {
            return Err("an item has two correlation ids: no event has".to_owned());
        }
        "correlation" => {
            item.correlation = Some(CorrelationId::new(value).map_err(message)?);
            return Ok(());
        }
        "stream" => StreamName::new(value).map(Scope::Stream),
        "category" => Category::new(value).map(Scope::Category),
        "path" => Path::new(value).map(Scope::Path),
        _ => {
            let known = "stream, category, path, type, tag, correlation";
            return Err(format!("`{key}` is none of {known}"));
        }
    };
    if item.scope.replace(scope.map_err(message)?).is_some() {
        return Err("an item looks at two places; join two items with ` or `".to_owned());
    }
    Ok(())
}

/// Returns a value in quotation marks, or the text up to the next comma or white space, and the rest after it.
fn value(text: &str) -> Result<(String, &str), String> {
    if text.starts_with('"') {
        let mut values = serde_json::Deserializer::from_str(text).into_iter::<String>();
        return match values.next() {
            Some(Ok(value)) => Ok((value, text.get(values.byte_offset()..).unwrap_or_default())),
            _ => Err(format!("`{text}` has no closing quotation mark, or is no JSON string")),
        };
    }
    let end = text.find(|c: char| c == ',' || c.is_whitespace()).unwrap_or(text.len());
    let (value, rest) = text.split_at(end);
    if value.contains('"') {
        return Err(format!("`{value}` has a quotation mark in it; quote the whole name"));
    }
    Ok((value.to_owned(), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(scope: Option<Scope>, types: &[&str], tags: &[&str]) -> QueryItem {
        QueryItem {
            scope,
            types: types.iter().map(|name| EventType::new(name).expect("a type")).collect(),
            tags: tags.iter().map(|name| Tag::new(name).expect("a tag")).collect(),
            correlation: None,
        }
    }

    #[test]
    fn a_query_is_read_as_the_help_says() {
        let limits = Scope::Stream(StreamName::new("limits-7").expect("a name"));
        let order = Scope::Category(Category::new("order").expect("a name"));
        let acme = Scope::Path(Path::new("acme/eu").expect("a path"));
        let correlated = QueryItem {
            correlation: Some(CorrelationId::new("cmd-91").expect("an id")),
            ..QueryItem::default()
        };
        for (text, items) in [
            ("*", vec![QueryItem::default()]),
            ("type:Paid", vec![item(None, &["Paid"], &[])]),
            (
                "type:Enrolled,tag:course:c1 or stream:limits-7",
                vec![item(None, &["Enrolled"], &["course:c1"]), item(Some(limits), &[], &[])],
            ),
            ("  category:order , ", vec![]),
            (
                "category:order,type:Paid, type:Sent  or  path:acme/eu,tag:\"a, b\",tag:\"\\\"\"",
                vec![
                    item(Some(order), &["Paid", "Sent"], &[]),
                    item(Some(acme), &[], &["a, b", "\""]),
                ],
            ),
            ("correlation:cmd-91", vec![correlated]),
            ("tag:or or tag:order", vec![item(None, &[], &["or"]), item(None, &[], &["order"])]),
        ] {
            match items.is_empty() {
                true => assert!(parse(text).is_err(), "{text}"),
                false => {
                    let query = Query { items };
                    assert_eq!(parse(text), Ok(query.clone()), "{text}");
                    assert_eq!(parse(&show(&query)), Ok(query), "{text}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_query_is_refused_with_the_reason() {
        for (text, why) in [
            ("", "is no demand"),
            ("Paid", "`Paid` is no demand"),
            ("kind:Paid", "`kind` is none of stream"),
            ("type:", "`type` is empty"),
            ("type:A type:B", "` or ` is expected"),
            ("type:A orb", "` or ` is expected"),
            ("type:A or", "` or ` is expected"),
            ("type:A,", "is no demand"),
            ("tag:\"a", "no closing quotation mark"),
            ("tag:a\"b", "quotation mark"),
            ("stream:a-1,path:a", "two places"),
            ("correlation:a,correlation:b", "two correlation ids"),
        ] {
            let refused = parse(text).expect_err(text);
            assert!(refused.contains(why), "{text}: {refused}");
        }
    }
}
