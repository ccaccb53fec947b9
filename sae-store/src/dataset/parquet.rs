//! Documents of a parquet file, streamed: one page of one column is in memory at a time.

use std::sync::Arc;

use parquet::errors::Result as ParquetResult;
use parquet::file::reader::{ChunkReader, FileReader, SerializedFileReader};
use parquet::record::reader::{ReaderIter, TreeBuilder};
use parquet::record::{Field, Row};
use parquet::schema::types::{SchemaDescPtr, SchemaDescriptor, Type};

use super::{Dataset, Document, Stream};
use crate::Result;

/// The documents of `dataset`, whose bytes are in `source`.
///
/// # Errors
/// Not parquet, or without the column.
pub(super) fn documents<R: ChunkReader + 'static>(dataset: &Dataset, source: R) -> Result<Stream> {
    let reader = SerializedFileReader::new(source).map_err(|e| dataset.wrong(e))?;
    let schema = reader.metadata().file_metadata().schema();
    let fields = schema.get_fields();
    let there: Vec<String> = fields.iter().map(|f| f.name().to_owned()).collect();
    let column = dataset.choose(&there)?;
    let chosen = fields.iter().filter(|f| f.name() == column).cloned().collect();
    let projection = Type::group_type_builder(schema.name())
        .with_fields(chosen)
        .build()
        .map_err(|e| dataset.wrong(e))?;
    let schema = Arc::new(SchemaDescriptor::new(Arc::new(projection)));
    let rows = Rows { reader: Box::new(reader), schema, group: 0, rows: None };
    let dataset = dataset.clone();
    Ok(Box::new(rows.enumerate().map(move |(number, row)| {
        let row = row.map_err(|e| dataset.wrong(format!("row {number}: {e}")))?;
        let field = row.into_columns().into_iter().next().map(|(_, field)| field);
        field.and_then(from_field).ok_or_else(|| {
            dataset.wrong(format!("row {number}: `{column}` is neither text nor token ids"))
        })
    })))
}

/// Rows of one row group after another.
struct Rows {
    reader: Box<dyn FileReader>,
    /// Of the column that is read.
    schema: SchemaDescPtr,
    /// The next group.
    group: usize,
    rows: Option<ReaderIter>,
}

impl Rows {
    fn open(&self, group: usize) -> ParquetResult<ReaderIter> {
        let group = self.reader.get_row_group(group)?;
        TreeBuilder::new().as_iter(Arc::clone(&self.schema), group.as_ref())
    }
}

impl Iterator for Rows {
    type Item = ParquetResult<Row>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.rows.as_mut().and_then(Iterator::next) {
                Some(Ok(row)) => return Some(Ok(row)),
                // After a failure nothing can be relied on.
                Some(Err(e)) => {
                    (self.rows, self.group) = (None, self.reader.num_row_groups());
                    return Some(Err(e));
                }
                None if self.group == self.reader.num_row_groups() => return None,
                None => {}
            }
            match self.open(self.group) {
                Ok(rows) => (self.rows, self.group) = (Some(rows), self.group + 1),
                Err(e) => {
                    (self.rows, self.group) = (None, self.reader.num_row_groups());
                    return Some(Err(e));
                }
            }
        }
    }
}

fn from_field(field: Field) -> Option<Document> {
    match field {
        Field::Str(text) => Some(Document::Text(text)),
        Field::ListInternal(list) => {
            list.elements().iter().map(id).collect::<Option<_>>().map(Document::Tokens)
        }
        _ => None,
    }
}

fn id(field: &Field) -> Option<u32> {
    match *field {
        Field::Int(id) => u32::try_from(id).ok(),
        Field::Long(id) => u32::try_from(id).ok(),
        Field::Short(id) => u32::try_from(id).ok(),
        Field::UShort(id) => Some(u32::from(id)),
        Field::UInt(id) => Some(id),
        Field::ULong(id) => u32::try_from(id).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use bytes::Bytes;
    use parquet::data_type::{ByteArray, ByteArrayType};
    use parquet::file::properties::WriterProperties;
    use parquet::file::reader::Length;
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;

    use super::*;

    /// One row group of many pages, a page a few rows.
    fn file(rows: usize) -> Bytes {
        let schema = parse_message_type("message m { required binary text (utf8); }").unwrap();
        let properties = WriterProperties::builder()
            .set_dictionary_enabled(false)
            .set_data_page_row_count_limit(16)
            .set_write_batch_size(16)
            .build();
        let mut bytes = Vec::new();
        let mut writer =
            SerializedFileWriter::new(&mut bytes, Arc::new(schema), Arc::new(properties)).unwrap();
        let mut group = writer.next_row_group().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        let texts: Vec<ByteArray> = (0..rows)
            .map(|i| ByteArray::from(format!("{i} {}", "x".repeat(100)).as_str()))
            .collect();
        column.typed::<ByteArrayType>().write_batch(&texts, None, None).unwrap();
        column.close().unwrap();
        group.close().unwrap();
        writer.close().unwrap();
        bytes.into()
    }

    /// Bytes that count how many of them were read.
    struct Counted(Bytes, Arc<AtomicUsize>);

    impl Length for Counted {
        fn len(&self) -> u64 {
            self.0.len() as u64
        }
    }

    struct CountedRead(Cursor<Bytes>, Arc<AtomicUsize>);

    impl std::io::Read for CountedRead {
        fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
            let read = self.0.read(to)?;
            self.1.fetch_add(read, Ordering::Relaxed);
            Ok(read)
        }
    }

    impl ChunkReader for Counted {
        type T = CountedRead;

        fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
            let rest = self.0.slice(usize::try_from(start).unwrap()..);
            Ok(CountedRead(Cursor::new(rest), Arc::clone(&self.1)))
        }

        fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
            self.1.fetch_add(length, Ordering::Relaxed);
            let start = usize::try_from(start).unwrap();
            Ok(self.0.slice(start..start + length))
        }
    }

    #[test]
    fn a_large_row_group_is_read_as_it_is_wanted() {
        let (bytes, read) = (file(20_000), Arc::default());
        let dataset = Dataset::in_memory("a.parquet", b"").unwrap();
        let source = Counted(bytes.clone(), Arc::clone(&read));
        let mut documents = documents(&dataset, source).unwrap();
        for i in 0..100 {
            let Document::Text(text) = documents.next().unwrap().unwrap() else { panic!() };
            assert!(text.starts_with(&format!("{i} x")), "{text}");
        }
        let so_far = read.load(Ordering::Relaxed);
        assert!(so_far * 5 < bytes.len(), "{so_far} of {} bytes", bytes.len());
        assert_eq!(documents.filter(Result::is_ok).count(), 20_000 - 100);
    }

    #[test]
    fn a_damaged_file_is_an_error_that_ends_it() {
        let bytes = file(2000);
        for at in (4..bytes.len() - 8).step_by(bytes.len() / 50) {
            let mut damaged = bytes.to_vec();
            damaged[at..at + 4].fill(0xff);
            let dataset = Dataset::in_memory("a.parquet", b"").unwrap();
            let Ok(found) = documents(&dataset, Bytes::from(damaged)) else { continue };
            let found: Vec<_> = found.collect();
            let failed = found.iter().position(Result::is_err);
            assert!(failed.is_none_or(|at| at + 1 == found.len()), "{failed:?} of {}", found.len());
        }
    }
}
