//! CSV files as a report reads them: a damaged line is left out and named, never a failure.

use csv::ByteRecord;
use std::path::Path;

/// Problems of one file that are listed one by one; the rest is counted.
const LISTED: usize = 5;

/// What a report says about its sources: which file, which line, what was done about it.
#[derive(Debug, Default)]
pub struct Problems(pub Vec<String>);

impl Problems {
    pub fn add(&mut self, problem: impl Into<String>) {
        self.0.push(problem.into());
    }
}

/// The rows of a CSV file that are whole, with the line in the file that each begins at.
#[derive(Debug, Default)]
pub struct Table {
    pub columns: Vec<String>,
    pub rows: Vec<(u64, Vec<String>)>,
}

impl Table {
    /// Reads `path`, called `name` in `problems`. None where there is no such file.
    pub fn read(path: &Path, name: &str, problems: &mut Problems) -> Option<Table> {
        match std::fs::read(path) {
            Ok(content) => Some(Table::parse(&content, name, problems)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
            Err(e) => {
                problems.add(format!("{name} cannot be read: {e}"));
                None
            }
        }
    }

    /// Reads `content`. A line of another length than the header is left out, and so is a last
    /// line without its line end: a number that was cut short would read as another number.
    pub fn parse(content: &[u8], name: &str, problems: &mut Problems) -> Table {
        let mut found = Listed::new(name);
        let whole = content.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
        let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(&content[..whole]);
        let text = |record: &ByteRecord| -> Vec<String> {
            record.iter().map(|cell| String::from_utf8_lossy(cell).into_owned()).collect()
        };
        let mut table = Table::default();
        if let Ok(header) = reader.byte_headers() {
            table.columns = text(header);
        }
        let mut record = ByteRecord::new();
        loop {
            match reader.read_byte_record(&mut record) {
                Ok(false) => break,
                Ok(true) => {
                    let line = record.position().map_or(0, csv::Position::line);
                    if record.len() == table.columns.len() {
                        table.rows.push((line, text(&record)));
                    } else {
                        let (has, wants) = (record.len(), table.columns.len());
                        found.add(line, format!("{has} fields where the header has {wants}"));
                    }
                }
                Err(e) => {
                    found.add(reader.position().line(), e.to_string());
                    break;
                }
            }
        }
        if whole < content.len() {
            let line = 1 + content.iter().filter(|&&byte| byte == b'\n').count();
            found.add(line as u64, "the line is cut short".into());
        }
        found.finish(problems);
        table
    }

    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column == name)
    }

    /// The columns that are there, or which is missing.
    pub fn columns<const N: usize>(
        &self,
        names: [&str; N],
        file: &str,
        problems: &mut Problems,
    ) -> Option<[usize; N]> {
        let mut found = [0; N];
        for (place, name) in found.iter_mut().zip(names) {
            match self.column(name) {
                Some(column) => *place = column,
                None => {
                    problems.add(format!("{file} has no column `{name}`, it is left out"));
                    return None;
                }
            }
        }
        Some(found)
    }

    /// One column as numbers; an empty cell is None, and so is what is no number.
    pub fn numbers(&self, column: usize, file: &str, problems: &mut Problems) -> Vec<Option<f64>> {
        let mut found = Listed::new(file);
        let name = &self.columns[column];
        let numbers = self.rows.iter().map(|(line, row)| {
            let cell = row[column].trim();
            let number = cell.parse().ok();
            if number.is_none() && !cell.is_empty() {
                let shown: String = cell.chars().take(40).collect();
                found.add(*line, format!("`{shown}` in column {name} is no number"));
            }
            number
        });
        let numbers = numbers.collect();
        found.finish(problems);
        numbers
    }
}

/// Problems of one file, the first few in full.
struct Listed<'a> {
    file: &'a str,
    list: Vec<String>,
    count: usize,
}

impl<'a> Listed<'a> {
    fn new(file: &'a str) -> Self {
        Listed { file, list: Vec::new(), count: 0 }
    }

    fn add(&mut self, line: u64, what: String) {
        self.count += 1;
        if self.count <= LISTED {
            self.list.push(format!("{} line {line}: {what}, it is left out", self.file));
        }
    }

    fn finish(self, problems: &mut Problems) {
        problems.0.extend(self.list);
        if self.count > LISTED {
            problems.add(format!("{}: {} more such lines", self.file, self.count - LISTED));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_named_and_left_out() {
        let content = b"step,loss\n1,0.5\n2\n3,abc\n\xff,1\n5,\n6,inf\n7,0.1";
        let mut problems = Problems::default();
        let table = Table::parse(content, "steps.csv", &mut problems);
        assert_eq!(table.rows.len(), 5);
        let loss = table.numbers(1, "steps.csv", &mut problems);
        assert_eq!(loss, [Some(0.5), None, Some(1.0), None, Some(f64::INFINITY)]);
        assert_eq!(
            problems.0,
            [
                "steps.csv line 3: 1 fields where the header has 2, it is left out",
                "steps.csv line 8: the line is cut short, it is left out",
                "steps.csv line 4: `abc` in column loss is no number, it is left out",
            ]
        );
    }

    #[test]
    fn many_problems_are_counted() {
        let content = format!("a,b\n{}", "1\n".repeat(20));
        let mut problems = Problems::default();
        Table::parse(content.as_bytes(), "x.csv", &mut problems);
        assert_eq!(problems.0.len(), 6);
        assert_eq!(problems.0[5], "x.csv: 15 more such lines");
    }

    #[test]
    fn nothing_at_all() {
        let mut problems = Problems::default();
        let table = Table::parse(b"", "x.csv", &mut problems);
        assert!(table.columns.is_empty() && table.rows.is_empty() && problems.0.is_empty());
    }
}
