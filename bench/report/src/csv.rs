//! Records as a table of comma-separated values.

pub use csv::Error as CsvError;
use serde_json::Value;

use crate::folder::Record;

use super::labels;

/// A line with the fields' names, then one for each record. Columns are all fields that some record has, settings first;
/// lists have no column.
///
/// # Errors
/// When a record cannot be written.
pub(crate) fn of_records(records: &[Record]) -> Result<Vec<u8>, CsvError> {
    let mut columns: Vec<&str> = Vec::new();
    let fields = records.iter().flatten().filter(|(_, value)| !value.is_array() && !value.is_object());
    for (field, _) in fields {
        if !columns.contains(&field.as_str()) {
            columns.push(field);
        }
    }
    columns.sort_by_key(|field| (labels::column_place(field), *field));
    let mut writer = csv::Writer::from_writer(Vec::new());
    if columns.is_empty() {
        return Ok(Vec::new());
    }
    writer.write_record(&columns)?;
    for record in records {
        writer.write_record(columns.iter().map(|column| text(record.get(*column))))?;
    }
    writer.into_inner().map_err(|error| CsvError::from(error.into_error()))
}

fn text(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null | Value::Array(_) | Value::Object(_)) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_are_those_of_all_records_and_lists_have_none() {
        let records = [
            json!({ "zeal": 1, "broker": "native", "plan": "p", "latency_ns_percentiles": [[50.0, 3.0]], "error": null }),
            json!({ "plan": "p", "broker": "a, \"b\"\nc", "repetition": 2, "messages_per_s": 0.5, "is_it": true }),
        ];
        let records = records.map(|record| record.as_object().unwrap().clone());
        let csv = String::from_utf8(of_records(&records).unwrap()).unwrap();
        let expected = "\
plan,repetition,broker,error,messages_per_s,is_it,zeal
p,,native,,,,1
p,2,\"a, \"\"b\"\"\nc\",,0.5,true,
";
        assert_eq!(csv, expected);
        assert!(of_records(&[]).unwrap().is_empty());
    }
}
