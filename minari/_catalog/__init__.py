"""Where local datasets lie: paths of ids, the walk and the list, namespaces, and recordings not saved yet."""
