//! The GraphQL requests.

pub const VIEWER: &str = "query Viewer { viewer { id entity username } }";

pub const RESUME_STATUS: &str = "\
query RunResumeStatus($project: String, $entity: String, $name: String!) {
  model(name: $project, entityName: $entity) {
    id
    name
    entity { id name }
    bucket(name: $name, missingOk: true) {
      id
      name
      summaryMetrics
      displayName
      logLineCount
      historyLineCount
      eventsLineCount
      historyTail
      eventsTail
      config
      tags
      wandbConfig(keys: [\"t\"])
    }
  }
}";

pub const UPSERT: &str = "\
mutation UpsertBucket(
  $id: String, $name: String, $project: String, $entity: String, $groupName: String,
  $displayName: String, $notes: String, $commit: String, $config: JSONString, $host: String,
  $program: String, $repo: String, $jobType: String, $state: String, $tags: [String!],
  $summaryMetrics: JSONString
) {
  upsertBucket(input: {
    id: $id, name: $name, modelName: $project, entityName: $entity, groupName: $groupName,
    displayName: $displayName, notes: $notes, commit: $commit, config: $config, host: $host,
    jobProgram: $program, jobRepo: $repo, jobType: $jobType, state: $state, tags: $tags,
    summaryMetrics: $summaryMetrics
  }) {
    bucket {
      id
      name
      displayName
      config
      project { id name entity { id name } }
      historyLineCount
    }
    inserted
  }
}";

pub const CREATE_FILES: &str = "\
mutation CreateRunFiles($entity: String!, $project: String!, $run: String!, $files: [String!]!) {
  createRunFiles(input: {entityName: $entity, projectName: $project, runName: $run, files: $files}) {
    runID
    uploadHeaders
    files { name uploadUrl }
  }
}";
