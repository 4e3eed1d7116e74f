//! Files of a run: the server says where each goes.

use super::api::Failure;
use super::queries::CREATE_FILES;
use super::server_run::ServerRun;
use super::upload::Upload;
use serde_json::json;
use std::path::Path;

impl Upload<'_> {
    /// Uploads a file of a segment; what can't be uploaded is said and passed over.
    pub(super) async fn put(&mut self, segment: usize, path: &str) {
        let file = self.segments[segment].files().join(path);
        if !file.is_file() {
            self.said.push(format!("{} is not there and was not uploaded to W&B", file.display()));
            return;
        }
        match self.put_now(path, &file).await {
            Ok(()) => self.uploaded.push(path.to_owned()),
            // A storage that fails is no reason to stop what can be sent; it gets another chance.
            Err(_) if !self.finishing => self.files_at_end.push((segment, path.to_owned())),
            Err(failure) => {
                self.said.push(format!("{path} could not be uploaded to W&B: {failure}"));
                self.incomplete = true;
            }
        }
    }

    async fn put_now(&self, path: &str, file: &Path) -> Result<(), Failure> {
        let ServerRun { entity, project, id, .. } = &self.server;
        let variables = json!({
            "entity": entity, "project": project, "run": id, "files": [path],
        });
        let data = self.api.files(CREATE_FILES, variables).await?;
        let made = &data["createRunFiles"];
        let headers: Vec<(String, String)> = made["uploadHeaders"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|header| header.as_str()?.split_once(':'))
            .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
            .collect();
        let url = made["files"][0]["uploadUrl"].as_str();
        let url = url.ok_or_else(|| Failure::Unreachable("no address for the file".into()))?;
        self.api.put(url, &headers, file).await
    }
}
