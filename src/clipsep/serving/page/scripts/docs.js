// Shows the server's OpenAPI document; no library, so that it works without internet.

const element = (name, text = "", className = "") => Object.assign(document.createElement(name), { textContent: text, className });

function resolve(schema, document) {
  const reference = schema?.$ref ?? schema?.allOf?.[0]?.$ref;
  return reference ? document.components.schemas[reference.split("/").pop()] : schema ?? {};
}

function typeOf(schema, document) {
  schema = resolve(schema, document);
  if (schema.enum) return schema.enum.join(" | ");
  if (schema.type === "array") return `list of ${typeOf(schema.items, document)}`;
  if (schema.format === "binary" || schema.contentMediaType) return "file";
  return schema.type || "any";
}

function fieldsOf(operation, document) {
  const fields = (operation.parameters || []).map((one) => [one.name, one.in, one.schema, one.required, one.description]);
  for (const body of Object.values(operation.requestBody?.content || {})) {
    const schema = resolve(body.schema, document);
    for (const [name, one] of Object.entries(schema.properties || {})) {
      fields.push([name, "form", one, schema.required?.includes(name), one.description]);
    }
  }
  return fields;
}

function card(method, path, operation, document_) {
  const section = element("section", "", "card");
  section.append(element("h2", `${method.toUpperCase()} ${path}`));
  section.append(element("p", operation.description || operation.summary));
  const fields = fieldsOf(operation, document_);
  if (fields.length) {
    const table = element("table");
    for (const [name, where, schema, required, description] of fields) {
      const row = table.insertRow();
      row.append(element("th", required ? name : `${name} (optional)`), element("td", `${where}: ${typeOf(schema, document_)}`), element("td", description || ""));
    }
    section.append(table);
  }
  if (path === "/v1/separate") {
    section.append(element("pre", `curl -F file=@street.wav -F query="dog barking" -o dog.wav ${location.origin}/v1/separate`));
  }
  const answers = element("p", Object.entries(operation.responses).map(([code, one]) => `${code}: ${one.description}`).join(" · "), "hint");
  section.append(answers);
  return section;
}

const api = await (await fetch("openapi.json")).json();
for (const [path, methods] of Object.entries(api.paths)) {
  for (const [method, operation] of Object.entries(methods)) {
    document.getElementById("routes").append(card(method, path, operation, api));
  }
}
