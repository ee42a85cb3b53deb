//! Variants of a topology: values put at dotted keys of the file, and all combinations of several.

use toml::{Table, Value};

use super::suggest::nearest;

/// Combinations beyond this are a slip: each is a network that is made.
pub const MOST_VARIANTS: usize = 64;

/// A key with the values that it shall take in turn: `mtu=1500,9000`.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    /// Dotted key, as written.
    pub key: String,
    /// The values, as written and as TOML.
    pub values: Vec<(String, Value)>,
}

/// A key and its value in one variant.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// Dotted key.
    pub key: String,
    /// As written.
    pub text: String,
    /// As TOML.
    pub value: Value,
}

/// A mistake in what shall vary.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VariantError {
    /// No `=`, or nothing on one of its sides.
    #[error("`{0}`: write it as KEY=VALUE,VALUE, such as mtu=1500,9000")]
    NoAxis(String),
    /// The same key twice.
    #[error("`{0}` is set twice: name all of its values at once")]
    Twice(String),
    /// More combinations than a person means.
    #[error("these values make {0} variants; at most {MOST_VARIANTS} are made")]
    TooMany(usize),
    /// A part of the key is not in the file.
    #[error("`{key}`: the file has no `{part}`{}", did_you_mean(.nearest, .known))]
    NoSuchPart {
        /// The whole key.
        key: String,
        /// The part that is missing, with what leads to it.
        part: String,
        /// The nearest that is there.
        nearest: Option<String>,
        /// All that are there.
        known: Vec<String>,
    },
    /// A part of the key leads into a plain value.
    #[error("`{key}`: `{part}` is a value, nothing stands below it")]
    NoTable {
        /// The whole key.
        key: String,
        /// Where it ends.
        part: String,
    },
    /// The file itself is no TOML; its own check says it better.
    #[error("{0}")]
    Toml(String),
}

fn did_you_mean(nearest: &Option<String>, known: &[String]) -> String {
    match (nearest, known) {
        (Some(near), _) => format!("; did you mean `{near}`?"),
        (None, []) => "; there is nothing".to_owned(),
        (None, known) => format!("; it has {}", known.iter().take(12).cloned().collect::<Vec<_>>().join(", ")),
    }
}

/// Reads `KEY=v1,v2`. A value is TOML where it is (`1500`, `true`, `["a", "b"]`), and a string otherwise (`ovs`, `5gbit`).
pub fn parse_axis(text: &str) -> Result<Axis, VariantError> {
    let wrong = || VariantError::NoAxis(text.to_owned());
    let (key, values) = text.split_once('=').ok_or_else(wrong)?;
    let key = key.trim();
    let values: Vec<(String, Value)> =
        split(values).into_iter().map(|value| (value.trim().to_owned(), read(value.trim()))).collect();
    if key.is_empty() || key.split('.').any(str::is_empty) || values.iter().any(|(text, _)| text.is_empty()) {
        return Err(wrong());
    }
    Ok(Axis { key: key.to_owned(), values })
}

/// At commas outside brackets and quotes.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut from, mut depth, mut quoted) = (Vec::new(), 0, 0_i32, false);
    for (at, c) in text.char_indices() {
        match c {
            '"' => quoted = !quoted,
            '[' | '{' if !quoted => depth += 1,
            ']' | '}' if !quoted => depth -= 1,
            ',' if !quoted && depth == 0 => {
                parts.push(&text[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[from..]);
    parts
}

fn read(text: &str) -> Value {
    let table = format!("value = {text}").parse::<Table>().ok();
    let value = table.filter(|table| table.len() == 1).and_then(|mut table| table.remove("value"));
    value.unwrap_or_else(|| Value::String(text.to_owned()))
}

/// All combinations, the last key changing fastest.
pub fn combinations(axes: &[Axis]) -> Result<Vec<Vec<Setting>>, VariantError> {
    for (at, axis) in axes.iter().enumerate() {
        if axes[..at].iter().any(|other| other.key == axis.key) {
            return Err(VariantError::Twice(axis.key.clone()));
        }
    }
    let count = axes.iter().fold(1_usize, |count, axis| count.saturating_mul(axis.values.len()));
    if count > MOST_VARIANTS {
        return Err(VariantError::TooMany(count));
    }
    let mut all = vec![Vec::new()];
    for axis in axes {
        let with = |settings: &Vec<Setting>, (text, value): &(String, Value)| {
            let one = Setting { key: axis.key.clone(), text: text.clone(), value: value.clone() };
            settings.iter().cloned().chain([one]).collect::<Vec<_>>()
        };
        all = all.iter().flat_map(|settings| axis.values.iter().map(move |value| with(settings, value))).collect();
    }
    Ok(all)
}

/// The file's text with these values put in, under another name.
pub fn text(file: &str, name: &str, settings: &[Setting]) -> Result<String, VariantError> {
    let mut table = table(file)?;
    table.insert("name".to_owned(), Value::String(name.to_owned()));
    for setting in settings {
        put(&mut table, setting)?;
    }
    toml::to_string(&table).map_err(|error| VariantError::Toml(error.to_string()))
}

/// The text without any `mtu` below the top, so that the one there holds for the whole path and tunnels follow.
pub fn without_own_mtus(file: &str) -> Result<String, VariantError> {
    fn strip(value: &mut Value) {
        match value {
            Value::Table(table) => {
                table.remove("mtu");
                table.iter_mut().for_each(|(_, value)| strip(value));
            }
            Value::Array(list) => list.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let mut table = table(file)?;
    table.iter_mut().for_each(|(_, value)| strip(value));
    toml::to_string(&table).map_err(|error| VariantError::Toml(error.to_string()))
}

fn table(file: &str) -> Result<Table, VariantError> {
    file.parse::<Table>().map_err(|error| VariantError::Toml(error.to_string()))
}

fn put(table: &mut Table, setting: &Setting) -> Result<(), VariantError> {
    let key = &setting.key;
    let parts: Vec<&str> = key.split('.').collect();
    let (last, ways) = parts.split_last().ok_or_else(|| VariantError::NoAxis(key.clone()))?;
    if let Some(first) = ways.first()
        && *first == "test"
    {
        // The one table that has defaults when it is not there.
        table.entry("test").or_insert_with(|| Value::Table(Table::new()));
    }
    // The root as a value, so that one walk serves tables and lists.
    let mut root = Value::Table(std::mem::take(table));
    let outcome = walk(&mut root, ways, key).and_then(|here| match here {
        Value::Table(table) => {
            table.insert((*last).to_owned(), setting.value.clone());
            Ok(())
        }
        Value::Array(list) => match last.parse::<usize>().ok().and_then(|at| list.get_mut(at)) {
            Some(element) => {
                *element = setting.value.clone();
                Ok(())
            }
            None => Err(missing(key, last, (0..list.len()).map(|at| at.to_string()).collect())),
        },
        _ => Err(VariantError::NoTable { key: key.clone(), part: ways.join(".") }),
    });
    if let Value::Table(back) = root {
        *table = back;
    }
    outcome?;
    if let [kind, switch, "kind"] = parts[..]
        && kind == "switch"
        && matches!(setting.text.as_str(), "macvlan" | "ipvlan")
    {
        give_nic(table, switch);
    }
    Ok(())
}

/// A macvlan or ipvlan switch hangs below a NIC; one that was a bridge gets a stand-in, so that kinds can be compared.
fn give_nic(table: &mut Table, switch: &str) {
    let name = format!("{switch}-nic");
    let Some(Value::Table(this)) = table.get_mut("switch").and_then(|all| all.get_mut(switch)) else { return };
    if this.contains_key("nic") {
        return;
    }
    this.insert("nic".to_owned(), Value::String(name.clone()));
    let nics = table.entry("nic").or_insert_with(|| Value::Table(Table::new()));
    if let Value::Table(nics) = nics {
        nics.entry(name).or_insert_with(|| Value::Table(Table::new()));
    }
}

fn walk<'v>(mut here: &'v mut Value, ways: &[&str], key: &str) -> Result<&'v mut Value, VariantError> {
    for (at, way) in ways.iter().enumerate() {
        let known: Vec<String> = match &*here {
            Value::Table(table) => table.keys().cloned().collect(),
            Value::Array(list) => (0..list.len()).map(|at| at.to_string()).collect(),
            _ => return Err(VariantError::NoTable { key: key.to_owned(), part: ways[..at].join(".") }),
        };
        let next = match here {
            Value::Table(table) => table.get_mut(*way),
            Value::Array(list) => way.parse::<usize>().ok().and_then(|at| list.get_mut(at)),
            _ => None,
        };
        here = next.ok_or_else(|| missing(key, &ways[..=at].join("."), known))?;
    }
    Ok(here)
}

fn missing(key: &str, part: &str, known: Vec<String>) -> VariantError {
    let word = part.rsplit('.').next().unwrap_or(part);
    let near = nearest(word, known.iter().map(String::as_str)).map(str::to_owned);
    VariantError::NoSuchPart { key: key.to_owned(), part: part.to_owned(), nearest: near, known }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::{check, shipped, source::Source};

    fn axes(texts: &[&str]) -> Vec<Axis> {
        texts.iter().map(|text| parse_axis(text).unwrap()).collect()
    }

    #[test]
    fn values_are_toml_or_words() {
        let axis = parse_axis("a.b=1500,true,ovs,\"x,y\",[1,2],5gbit").unwrap();
        let texts: Vec<&str> = axis.values.iter().map(|(text, _)| text.as_str()).collect();
        assert_eq!(texts, ["1500", "true", "ovs", "\"x,y\"", "[1,2]", "5gbit"]);
        assert_eq!(axis.values[0].1, Value::Integer(1500));
        assert_eq!(axis.values[2].1, Value::String("ovs".into()));
        assert_eq!(axis.values[3].1, Value::String("x,y".into()));
        assert_eq!(axis.values[5].1, Value::String("5gbit".into()));
        for wrong in ["", "mtu", "mtu=", "=1", "a..b=1", "mtu=1,,2", ".=1"] {
            assert!(parse_axis(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn all_combinations_and_no_flood() {
        let all = combinations(&axes(&["mtu=1500,9000", "test.streams=1,4,8"])).unwrap();
        let texts = |settings: &Vec<Setting>| settings.iter().map(|s| s.text.clone()).collect::<Vec<_>>().join(" ");
        let all: Vec<String> = all.iter().map(texts).collect();
        assert_eq!(all, ["1500 1", "1500 4", "1500 8", "9000 1", "9000 4", "9000 8"]);
        assert_eq!(combinations(&axes(&["a=1", "a=2"])), Err(VariantError::Twice("a".into())));
        let many = (0..65).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
        assert_eq!(combinations(&axes(&[&format!("a={many}")])), Err(VariantError::TooMany(65)));
        assert_eq!(combinations(&[]).unwrap(), [vec![]]);
    }

    #[test]
    fn a_variant_is_a_topology_again() {
        let bridge = shipped::find("bridge").unwrap().text;
        let all =
            combinations(&axes(&["switch.br1.kind=bridge,ovs,macvlan", "mtu=1500,4000", "test.streams=2"])).unwrap();
        for (number, settings) in all.iter().enumerate() {
            let text = text(bridge, &format!("bridge-{number}"), settings).unwrap();
            let topology =
                check(Source::new("variant", text.clone())).unwrap_or_else(|r| panic!("{r}\n{text}")).topology;
            assert_eq!(topology.name, format!("bridge-{number}"));
            assert_eq!(topology.flows[0].mtu, if number % 2 == 0 { 1500 } else { 4000 });
            assert_eq!(topology.test.streams, Some(2));
        }
    }

    #[test]
    fn slips_are_met_with_what_was_meant() {
        let bridge = shipped::find("bridge").unwrap().text;
        let error = |axis: &str| {
            let settings = combinations(&axes(&[axis])).unwrap().remove(0);
            text(bridge, "x", &settings).unwrap_err().to_string()
        };
        assert_eq!(
            error("switch.br2.kind=ovs"),
            "`switch.br2.kind`: the file has no `switch.br2`; did you mean `br1`?"
        );
        assert_eq!(error("swich.br1.kind=ovs"), "`swich.br1.kind`: the file has no `swich`; did you mean `switch`?");
        assert_eq!(error("mtu.x=1"), "`mtu.x`: `mtu` is a value, nothing stands below it");
        assert!(error("switch.br1.ports.7=a").contains("no `7`"));
        // What may stand below a table is the language's to say.
        let settings = combinations(&axes(&["switch.br1.knid=ovs"])).unwrap().remove(0);
        let report = check(Source::new("x", text(bridge, "x", &settings).unwrap())).unwrap_err();
        assert!(report.to_string().contains("kind"), "{report}");
    }

    #[test]
    fn own_mtus_give_way() {
        let file =
            "name = \"x\"\nmtu = 9000\n[node.a]\nmtu = 1500\n[[link]]\nends = [{ at = \"a:b\", mtu = 3 }, \"c\"]\n";
        let text = without_own_mtus(file).unwrap();
        assert_eq!(text.matches("mtu").count(), 1, "{text}");
        assert!(text.contains("mtu = 9000"));
    }
}
