// Loaded into Azurite: it finds a blob by its name through the index that it keeps, instead of by looking at every blob.
//
// Azurite asks LokiJS for account, container and name at once, and LokiJS uses the index of the first of them alone,
// which is the same for all blobs: each request costs time in proportion to the blobs there are. Named first, the name
// narrows them down to a few. Where LokiJS is not what this expects, nothing is changed.
import { createRequire } from "node:module";

const { Resultset } = createRequire(process.argv[1])("lokijs");
const find = Resultset?.prototype.find;
if (find) {
  Resultset.prototype.find = function (query, firstOnly) {
    const byName = typeof query?.name === "string" && !this.filterInitialized && this.collection.binaryIndices?.name;
    if (byName) {
      const { name, ...rest } = query;
      return find.call(this, { name, ...rest }, firstOnly);
    }
    return find.call(this, query, firstOnly);
  };
}
