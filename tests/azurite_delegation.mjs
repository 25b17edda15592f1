// Loaded into Azurite by tests of user-delegation signatures. From version 2026-04-06 on, what is signed has two lines more
// (signed request headers and query parameters), which this Azurite does not know; they are empty in ours. The text that is
// signed is Azurite's own otherwise, and so are the checks of the key, the times, the protocol, the deed and the blob.
import { createHmac } from "node:crypto";
import { createRequire } from "node:module";
import { join, dirname } from "node:path";

const require = createRequire(process.argv[1]);
const values = require(join(dirname(process.argv[1]), "authentication", "IBlobSASSignatureValues.js"));
const known = values.generateBlobSASSignatureWithUDK;
values.generateBlobSASSignatureWithUDK = (given, resource, account, key) => {
  const [signature, text] = known(given, resource, account, key);
  if (given.version < "2026-04-06") return [signature, text];
  const lines = text.split("\n");
  lines.splice(-5, 0, "", "");
  const signed = lines.join("\n");
  return [createHmac("sha256", key).update(signed, "utf8").digest("base64"), signed];
};
