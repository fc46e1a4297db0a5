/** Typed fields of parsed JSON that came from elsewhere; every mismatch names the field. */
import type { PandoError } from '../error.js';

/** Makes the error for a field (empty: the whole document) that is not what was expected. */
export type FieldError = (field: string, expected: string) => PandoError;

/** An object whose fields are read one by one. */
export class JsonFields {
  private constructor(
    private readonly path: string,
    private readonly fields: Readonly<Record<string, unknown>>,
    private readonly invalid: FieldError,
  ) {}

  /** @throws what `invalid` makes, when the text is no JSON object */
  static parse(json: string, invalid: FieldError): JsonFields {
    let value: unknown;
    try {
      value = JSON.parse(json);
    } catch {
      throw invalid('', 'JSON');
    }
    return JsonFields.of('', value, invalid);
  }

  private static of(path: string, value: unknown, invalid: FieldError): JsonFields {
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
      return new JsonFields(path, value as Record<string, unknown>, invalid);
    }
    throw invalid(path.replace(/\.$/, ''), 'an object');
  }

  private fail(key: string, expected: string): PandoError {
    return this.invalid(this.path + key, expected);
  }

  text(key: string, pattern?: RegExp): string {
    const value = this.fields[key];
    if (typeof value === 'string' && (pattern === undefined || pattern.test(value))) return value;
    throw this.fail(key, pattern ? `a text like ${pattern}` : 'a text');
  }

  size(key: string): number {
    const value = this.fields[key];
    if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value;
    throw this.fail(key, 'a number of bytes');
  }

  /** Whether the field is there; null counts as absent, as in documents of Go programs. */
  has(key: string): boolean {
    return this.fields[key] !== undefined && this.fields[key] !== null;
  }

  object(key: string): JsonFields {
    return JsonFields.of(`${this.path}${key}.`, this.fields[key], this.invalid);
  }

  private array(key: string): unknown[] {
    const value = this.fields[key];
    if (!Array.isArray(value)) throw this.fail(key, 'a list');
    return value;
  }

  list(key: string): JsonFields[] {
    return this.array(key).map((item, index) =>
      JsonFields.of(`${this.path}${key}[${index}].`, item, this.invalid),
    );
  }

  /** A list of texts. */
  texts(key: string): string[] {
    return this.array(key).map((item, index) => {
      if (typeof item === 'string') return item;
      throw this.fail(`${key}[${index}]`, 'a text');
    });
  }

  /** The names of the fields. */
  keys(): string[] {
    return Object.keys(this.fields);
  }
}
