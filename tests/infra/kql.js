// Microsoft's own parser on Kusto queries: {name: query} comes in as JSON, [[name, line, message], …] goes out.
// The tables are as Application Insights writes them into Log Analytics.
"use strict";

const library = "@kusto/language-service-next/";
require(library + "bridge.min.js");
require(library + "Kusto.Language.Bridge.min.js");
const { GlobalState, KustoCode, Symbols } = Kusto.Language;

const common =
  "TimeGenerated: datetime, OperationName: string, OperationId: string, AppRoleName: string, AppRoleInstance: string, " +
  "SDKVersion: string, Properties: dynamic, Measurements: dynamic, ItemCount: int, _ResourceId: string";
const tables = {
  AppTraces: `Message: string, SeverityLevel: int, ${common}`,
  AppRequests:
    "Id: string, Name: string, Url: string, Success: bool, ResultCode: string, DurationMs: real, " +
    `PerformanceBucket: string, Source: string, ${common}`,
  AppExceptions:
    "ProblemId: string, ExceptionType: string, Assembly: string, Method: string, OuterType: string, OuterMessage: string, " +
    `InnermostType: string, InnermostMessage: string, Details: dynamic, SeverityLevel: int, ${common}`,
};
const symbols = Object.entries(tables).map(([name, columns]) => Symbols.TableSymbol.From(`(${columns})`).WithName(name));
const globals = GlobalState.Default.WithDatabase(new Symbols.DatabaseSymbol.ctor("logs", symbols));

const found = [];
for (const [name, query] of Object.entries(JSON.parse(require("fs").readFileSync(0, "utf8")))) {
  const diagnostics = KustoCode.ParseAndAnalyze(query, globals).GetDiagnostics();
  for (let index = 0; index < diagnostics.Count; index++) {
    const { Start, Message } = diagnostics.getItem(index);
    found.push([name, query.slice(0, Start).split("\n").length, Message]);
  }
}
process.stdout.write(JSON.stringify(found));
