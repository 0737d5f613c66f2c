//! The schema of a daily index: five fields, whatever the documents hold.
//!
//! `source` is the document as it was given, kept and, by its own tokenizer, split into [`Terms`]; the others are what
//! documents are ordered by and told apart by. An index written with another schema is not opened with this one.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tantivy::schema::{
    BytesOptions, DateOptions, DateTimePrecision, FAST, Field, IndexRecordOption, NumericOptions,
    Schema, TextFieldIndexing, TextOptions,
};
use tantivy::tokenizer::{TextAnalyzer, Token, TokenStream, Tokenizer, TokenizerManager};
use tantivy::{DateTime, TantivyDocument};

use super::terms::Terms;
use crate::document::Document;

/// The name of the tokenizer carries the version of what terms there are.
const TOKENIZER: &str = "naru_source_1";
/// The name of the column of times.
pub(super) const TIME: &str = "time";
/// The name of the column of files.
pub(super) const FILE: &str = "file";
/// The name of the column of offsets.
pub(super) const OFFSET: &str = "offset";
/// The name of the column of ids.
pub(super) const ID: &str = "id";
/// A document's id in bytes that sort by time.
pub(super) const ID_BYTES: usize = 15;

/// The schema and its fields.
pub(super) struct Fields {
    pub(super) schema: Schema,
    pub(super) id: Field,
    pub(super) source: Field,
    pub(super) time: Field,
    file: Field,
    offset: Field,
}

/// The one schema.
pub(super) static FIELDS: LazyLock<Fields> = LazyLock::new(Fields::new);

impl Fields {
    fn new() -> Self {
        let mut schema = Schema::builder();
        let terms = TextFieldIndexing::default()
            .set_tokenizer(TOKENIZER)
            .set_index_option(IndexRecordOption::WithFreqsAndPositions)
            .set_fieldnorms(false);
        let nanoseconds =
            DateOptions::default().set_fast().set_precision(DateTimePrecision::Nanoseconds);
        let id = schema.add_bytes_field(ID, BytesOptions::default().set_indexed().set_fast());
        let source = schema.add_text_field(
            "source",
            TextOptions::default().set_stored().set_indexing_options(terms),
        );
        let time = schema.add_date_field(TIME, nanoseconds);
        let file = schema.add_bytes_field(FILE, FAST);
        let offset = schema.add_u64_field(OFFSET, NumericOptions::default().set_fast());
        Self { schema: schema.build(), id, source, time, file, offset }
    }

    /// What tantivy is given of a document.
    pub(super) fn document(
        &self,
        document: &Document<'_>,
        id: [u8; ID_BYTES],
        source: &str,
    ) -> TantivyDocument {
        let mut fields = TantivyDocument::new();
        fields.add_bytes(self.id, &id);
        fields.add_text(self.source, source);
        fields.add_date(self.time, DateTime::from_timestamp_nanos(document.timestamp_ns));
        fields.add_bytes(self.file, &document.file.0);
        fields.add_u64(self.offset, document.offset);
        fields
    }
}

/// The tokenizers that the schema names.
pub(super) fn tokenizers() -> TokenizerManager {
    // tantivy asks for its own `raw` one for each field of bytes.
    let tokenizers = TokenizerManager::default();
    tokenizers.register(TOKENIZER, TextAnalyzer::from(SourceTokenizer::default()));
    tokenizers
}

/// The bytes of an id's text; none for what is no id.
pub(super) fn id_bytes(id: &str) -> Option<[u8; ID_BYTES]> {
    URL_SAFE_NO_PAD.decode(id).ok()?.try_into().ok()
}

/// The text of an id's bytes.
pub(super) fn id_text(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

#[derive(Debug, Default, Clone)]
struct SourceTokenizer {
    terms: Terms,
}

impl Tokenizer for SourceTokenizer {
    type TokenStream<'a> = SourceStream<'a>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> SourceStream<'a> {
        self.terms.read(text);
        SourceStream { terms: &self.terms, next: 0, token: Token::default() }
    }
}

struct SourceStream<'a> {
    terms: &'a Terms,
    next: usize,
    token: Token,
}

impl TokenStream for SourceStream<'_> {
    fn advance(&mut self) -> bool {
        let Some((term, place)) = self.terms.get(self.next) else {
            return false;
        };
        self.token.text.clear();
        self.token.text.push_str(term);
        self.token.position = place as usize;
        self.next += 1;
        true
    }

    fn token(&self) -> &Token {
        &self.token
    }

    fn token_mut(&mut self) -> &mut Token {
        &mut self.token
    }
}
