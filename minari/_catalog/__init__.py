"""The local catalog: paths of ids, listing, namespaces, and recordings that have not been saved."""
