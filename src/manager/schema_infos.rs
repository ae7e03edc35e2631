//! Schema information in the global store, by name.

use super::{ShardMapManager, in_category};
use crate::error::{Error, ErrorCategory, ErrorCode, Refusal, Result};
use crate::gsm::SchemaInfoEntry;
use crate::model::{check_text, folded};
use crate::operation::Stores;
use crate::schema_info::{self, SchemaInfo};

/// Schema information is stored under names: free text of 1 to [`SchemaInfo::MAX_NAME_LENGTH`] UTF-16 code units, not blank,
/// without control characters and carriage returns. By convention it is the name of the shard map whose tables it describes.
/// That there is such a map is not checked, and deleting the map leaves the information where it is. Names compare as the names
/// of shard maps do; on SQL Server by the collation of the database, which is likely to be one that ignores case.
impl<B: Stores> ShardMapManager<B> {
    /// All schema information with its names, ordered by these. One read of the global store.
    ///
    /// # Errors
    /// `StoreDamaged`, which names the row, if one of the documents cannot be read. Those that can are found one by one.
    pub async fn schema_infos(&self) -> Result<Vec<(String, SchemaInfo)>> {
        let about = |error| about(error, "SchemaInfoCollection.GetEnumerator");
        let entries = self.shared.stores.schema_infos().await.map_err(about)?;
        let mut infos = entries.into_iter().map(read).collect::<Result<Vec<_>>>().map_err(about)?;
        infos.sort_by_cached_key(|(name, _)| folded(name));
        Ok(infos)
    }

    /// The schema information of a name, if there is some. One read of the global store.
    ///
    /// # Errors
    /// `InvalidInput` for the name; `StoreDamaged` if its document cannot be read.
    pub async fn find_schema_info(&self, name: &str) -> Result<Option<SchemaInfo>> {
        self.stored_schema_info(name, "SchemaInfoCollection.TryGet").await
    }

    /// The schema information of a name. One read of the global store.
    ///
    /// # Errors
    /// `NotFound`; otherwise as [`find_schema_info`](Self::find_schema_info).
    pub async fn schema_info(&self, name: &str) -> Result<SchemaInfo> {
        let operation = "SchemaInfoCollection.Get";
        let found = self.stored_schema_info(name, operation).await?;
        found.ok_or_else(|| about(named(missing(), name), operation).at_global())
    }

    /// Stores schema information under a new name. One request to the global store.
    ///
    /// Cancel safe: it is stored or it is not.
    ///
    /// # Errors
    /// `AlreadyExists` if the name is taken; `InvalidInput` for the name; `OutcomeUnknown` if the answer was lost.
    pub async fn create_schema_info(&self, name: &str, info: &SchemaInfo) -> Result<()> {
        let about = |error| about(named(error, name), "SchemaInfoCollection.Add");
        check(name).map_err(about)?;
        self.shared.stores.add_schema_info(name, &schema_info::write(info)).await.map_err(about)
    }

    /// Replaces the schema information of a name, whatever it was: also if it cannot be read. Nothing tells whether another
    /// client has replaced it since it was read. One request to the global store.
    ///
    /// Cancel safe: it is the old one or the new one.
    ///
    /// # Errors
    /// `NotFound`; `InvalidInput` for the name; `OutcomeUnknown` if the answer was lost.
    pub async fn update_schema_info(&self, name: &str, info: &SchemaInfo) -> Result<()> {
        let about = |error| about(named(error, name), "SchemaInfoCollection.Replace");
        check(name).map_err(about)?;
        self.shared.stores.update_schema_info(name, &schema_info::write(info)).await.map_err(about)
    }

    /// Deletes the schema information of a name, also if it cannot be read. One request to the global store.
    ///
    /// Cancel safe: it is gone or it is not.
    ///
    /// # Errors
    /// `NotFound`; `InvalidInput` for the name; `OutcomeUnknown` if the answer was lost.
    pub async fn delete_schema_info(&self, name: &str) -> Result<()> {
        let about = |error| about(named(error, name), "SchemaInfoCollection.Remove");
        check(name).map_err(about)?;
        self.shared.stores.remove_schema_info(name).await.map_err(about)
    }

    async fn stored_schema_info(&self, name: &str, operation: &'static str) -> Result<Option<SchemaInfo>> {
        let about = |error| about(error, operation);
        check(name).map_err(about)?;
        let found = self.shared.stores.find_schema_info(name).await.map_err(about)?;
        found.map(|entry| read(entry).map(|(_, info)| info)).transpose().map_err(about)
    }
}

fn check(name: &str) -> Result<()> {
    check_text("schema information", name, SchemaInfo::MAX_NAME_LENGTH)
}

fn read(entry: SchemaInfoEntry) -> Result<(String, SchemaInfo)> {
    let info = schema_info::read(&entry.name, &entry.document).map_err(Error::at_global)?;
    Ok((entry.name, info))
}

fn missing() -> Error {
    Refusal::SchemaInfoNameDoesNotExist.into_error()
}

/// Says in a refusal which name it is about.
fn named(error: Error, name: &str) -> Error {
    match error.code() {
        ErrorCode::SchemaInfoNameDoesNotExist => {
            error.with_message(format!("there is no schema information of the name {name:?}"))
        }
        ErrorCode::SchemaInfoNameConflict => {
            error.with_message(format!("there is schema information of the name {name:?} already"))
        }
        _ => error,
    }
}

fn about(error: Error, operation: &'static str) -> Error {
    in_category(error, operation, ErrorCategory::SchemaInfoCollection)
}
